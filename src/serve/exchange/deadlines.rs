//! When a request is too late, and what follows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Exchange, State, Turn};
use crate::control::Change;
use crate::events::{Event, Timeout};
use crate::serve::clock::Tick;
use crate::serve::pace::{Pace, Verdict};
use crate::serve::timeouts::Timeouts;
use crate::track::End;

impl Exchange {
    pub fn header_deadline(&self) -> Tick {
        Tick(self.header_deadline.load(Relaxed))
    }

    /// Brings the head's deadline forward (the drain has a shorter one).
    pub fn hasten_head(&self, deadline: Tick) {
        self.header_deadline.fetch_min(deadline.0, Relaxed);
    }

    /// The write side is closed and the peer is read away until `until`.
    pub fn linger_until(&self, until: Tick) {
        self.set_state(State::Lingering);
        self.header_deadline.store(until.0, Relaxed);
    }

    /// The earliest deadline of a request that is with its handler or being answered.
    pub fn deadline(&self) -> Tick {
        let mut deadline = self.write_deadline().min(self.response_head_deadline());
        if self.reading() {
            deadline = deadline.min(Tick(self.read_deadline.load(Relaxed)));
            if self.read.waits() {
                let pace = |terms: &Timeouts| {
                    let stall = self.read.stall_deadline(terms.effective_read_stall());
                    stall.min(self.read.window_deadline(terms.effective_min_read_rate()))
                };
                deadline = deadline.min(self.terms(pace));
            }
        }
        deadline.min(self.write_pace_deadline())
    }

    /// The earliest deadline of a response of which only the end is left.
    pub fn tail_deadline(&self) -> Tick {
        self.write_deadline().min(self.write_pace_deadline())
    }

    /// Which of these has passed, if one has.
    pub fn tail_expired(&self, now: Tick, turn: &Turn) -> Option<Timeout> {
        if self.write_deadline() <= now {
            return Some(Timeout::Write);
        }
        self.write_pace_expired(now, Some(turn))
    }

    /// Until when the response's head must be there; `NEVER` once it is.
    pub fn response_head_deadline(&self) -> Tick {
        match self.state() {
            State::Handler if !self.write_expired() => {
                Tick(self.response_head_deadline.load(Relaxed))
            }
            _ => Tick::NEVER,
        }
    }

    /// What `of` takes from the timeouts of this request.
    pub fn terms<R>(&self, of: impl FnOnce(&Timeouts) -> R) -> R {
        if self.own_terms.load(Relaxed) {
            if let Some(terms) = &self.cross().terms {
                return of(terms);
            }
        }
        of(&self.server.timeouts)
    }

    fn reading(&self) -> bool {
        self.body_open.load(Relaxed) && !self.read_expired.load(Relaxed)
    }

    /// Which deadline has passed, if one has. A window of a minimum rate that was kept is followed by the
    /// next one. `turn`: HTTP/2, whether the stream has had its turn on the connection.
    pub fn expired(&self, now: Tick, turn: Option<&Turn>) -> Option<Timeout> {
        if self.write_deadline() <= now {
            Some(Timeout::Write)
        } else if self.response_head_deadline() <= now {
            Some(Timeout::ResponseHead)
        } else if let Some(kind) = self.write_pace_expired(now, turn) {
            Some(kind)
        } else if self.reading() && Tick(self.read_deadline.load(Relaxed)) <= now {
            Some(Timeout::Read)
        } else if self.reading() {
            self.read_pace_expired(now)
        } else {
            None
        }
    }

    fn read_pace_expired(&self, now: Tick) -> Option<Timeout> {
        let of = |terms: &Timeouts| {
            (
                terms.effective_read_stall(),
                terms.effective_min_read_rate(),
            )
        };
        let (stall, rate) = self.terms(of);
        if self.read.stall_deadline(stall) <= now {
            return Some(Timeout::ReadStall);
        }
        let rate = rate.filter(|_| self.read.window_deadline(rate) <= now)?;
        match self.read.judge(now, rate, stall.is_some(), 1) {
            Verdict::TooSlow => Some(Timeout::MinReadRate),
            Verdict::Goes => None,
        }
    }

    /// The response took too long and nothing of it was sent: the handler is to be cancelled, and
    /// what is answered in its stead has `grace` to be sent.
    pub fn expire_write(&self, kind: Timeout, now: Tick, grace: Duration) {
        self.tell_timeout(kind);
        self.write_expired.store(true, Relaxed);
        self.close_after_this();
        self.write_deadline.store(now.after(Some(grace)).0, Relaxed);
    }

    pub fn tell_timeout(&self, kind: Timeout) {
        self.give_up(End::Timeout);
        self.emit(|request| Event::Timeout { kind, request });
    }

    pub fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, &self.read_deadline, wait);
    }

    pub fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, &self.write_deadline, wait);
    }

    pub fn change_deadline(&self, epoch: u64, change: Change) {
        let pace = match change {
            Change::ResponseHead(_) | Change::ReadStall(_) | Change::WriteStall(_) => None,
            Change::MinReadRate(_) => Some(&self.read),
            Change::MinWriteRate(_) => Some(&self.write),
        };
        self.change_terms(epoch, pace, |terms| match change {
            Change::ResponseHead(wait) => terms.response_head(wait),
            Change::ReadStall(wait) => terms.read_stall(wait),
            Change::WriteStall(wait) => terms.write_stall(wait),
            Change::MinReadRate(rate) => terms.min_read_rate(rate),
            Change::MinWriteRate(rate) => terms.min_write_rate(rate),
        });
        // After the terms, by which it is restarted.
        if let Change::ResponseHead(wait) = change {
            self.move_deadline(epoch, &self.response_head_deadline, wait);
        }
    }

    /// Gives request `epoch` timeouts of its own. The grace of `pace` begins anew.
    fn change_terms(
        &self,
        epoch: u64,
        pace: Option<&Pace>,
        change: impl FnOnce(Timeouts) -> Timeouts,
    ) {
        let mut cross = self.cross();
        if cross.epoch != epoch {
            return;
        }
        let own = self.own_terms.load(Relaxed);
        let terms = cross.terms.as_deref().filter(|_| own);
        let changed = change(terms.copied().unwrap_or(self.server.timeouts));
        match &mut cross.terms {
            Some(terms) => **terms = changed,
            terms => *terms = Some(Box::new(changed)),
        }
        self.own_terms.store(true, Relaxed);
        if let Some(pace) = pace {
            pace.restart(self.server.clock.now());
        }
        let owner = cross.owner.clone();
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    fn move_deadline(&self, epoch: u64, deadline: &AtomicU64, wait: Option<Duration>) {
        let cross = self.cross();
        // Under the lock that numbers requests: the deadline that is moved is this request's.
        if cross.epoch != epoch || self.write_expired.load(Relaxed) {
            return;
        }
        let moved = self.server.clock.now().after(wait);
        let before = deadline.swap(moved.0, Relaxed);
        // A timer that is armed too early looks again by itself: only an earlier deadline needs a wake.
        let owner = cross.owner.clone().filter(|_| moved.0 < before);
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}
