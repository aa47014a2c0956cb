//! When a request is too late, and what follows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Exchange, State};
use crate::events::{Event, Timeout};
use crate::serve::clock::Tick;
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
        let mut deadline = Tick(self.write_deadline.load(Relaxed));
        if self.reading() {
            deadline = deadline.min(Tick(self.read_deadline.load(Relaxed)));
            deadline = deadline.min(self.read_stall_deadline());
        }
        deadline.min(self.conn.write_stall_deadline(&self.server.timeouts))
    }

    fn reading(&self) -> bool {
        self.body_open.load(Relaxed) && !self.read_expired.load(Relaxed)
    }

    fn read_stall_deadline(&self) -> Tick {
        match (
            Tick(self.read_blocked.load(Relaxed)),
            self.server.timeouts.effective_read_stall(),
        ) {
            (Tick::NEVER, _) | (_, None) => Tick::NEVER,
            (since, stall) => since.after(stall),
        }
    }

    /// Which deadline has passed, if one has.
    pub fn expired(&self, now: Tick) -> Option<Timeout> {
        if Tick(self.write_deadline.load(Relaxed)) <= now {
            Some(Timeout::Write)
        } else if self.conn.write_stall_deadline(&self.server.timeouts) <= now {
            Some(Timeout::WriteStall)
        } else if self.reading() && Tick(self.read_deadline.load(Relaxed)) <= now {
            Some(Timeout::Read)
        } else if self.reading() && self.read_stall_deadline() <= now {
            Some(Timeout::ReadStall)
        } else {
            None
        }
    }

    /// The request body took too long: its reader is told, and the connection will close.
    pub fn expire_read(&self, kind: Timeout) {
        self.tell_timeout(kind);
        self.read_expired.store(true, Relaxed);
        self.close_after_this();
        let reader = self.cross().reader.take();
        if let Some(reader) = reader {
            reader.wake();
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
