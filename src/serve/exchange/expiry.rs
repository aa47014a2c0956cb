//! The expiry of a request's deadlines, and its consequences.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::pace::Verdict;
use super::request::Exchange;
use super::state::State;
use super::untaken::Turn;
use crate::events::{Event, TimeoutKind};
use crate::min_rate::MinRate;
use crate::serve::config::Timeouts;
use crate::serve::time::Tick;
use crate::track::BodyEnd;

/// The number of minimum-rate windows that the first one of a response counts for: the kernel's buffers hide about one.
pub(crate) const FIRST_WINDOW: u32 = 2;

/// The meaning of a deadline.
#[derive(Clone, Copy)]
enum Due {
    /// The request is too late.
    Timeout(TimeoutKind),
    /// The kernel is asked how much of the response it holds.
    Look,
}

impl Exchange {
    /// Visits each deadline in force of a request that is with its handler or being answered; of two that have passed,
    /// the first one counts.
    #[inline]
    fn each_deadline(&self, mut see: impl FnMut(Tick, Due)) {
        see(self.write_deadline(), Due::Timeout(TimeoutKind::Write));
        let head = self.response_head_deadline();
        see(head, Due::Timeout(TimeoutKind::ResponseHead));
        self.each_write_pace_deadline(&mut see);
        if self.body_open() && !self.read_expired() {
            see(self.deadlines.read(), Due::Timeout(TimeoutKind::Read));
            if self.read.waits() {
                let (stall, rate) = self.read_terms();
                let stall = self.read.stall_deadline(stall);
                see(stall, Due::Timeout(TimeoutKind::ReadStall));
                let window = self.read.window_deadline(rate);
                see(window, Due::Timeout(TimeoutKind::MinReadRate));
            }
        }
    }

    #[inline]
    fn each_tail_deadline(&self, mut see: impl FnMut(Tick, Due)) {
        see(self.write_deadline(), Due::Timeout(TimeoutKind::Write));
        self.each_write_pace_deadline(&mut see);
    }

    #[inline]
    fn each_write_pace_deadline(&self, see: &mut impl FnMut(Tick, Due)) {
        if self.write.waits() {
            let (stall, rate) = self.write_terms();
            see(self.write.look_deadline(), Due::Look);
            let stall = self.write.stall_deadline(stall);
            see(stall, Due::Timeout(TimeoutKind::WriteStall));
            let window = self.write.window_deadline(rate);
            see(window, Due::Timeout(TimeoutKind::MinWriteRate));
        }
    }

    /// Returns the earliest deadline of a request that is with its handler or being answered.
    pub(crate) fn next_deadline(&self) -> Tick {
        let mut next = Tick::NEVER;
        self.each_deadline(|at, _| next = next.min(at));
        next
    }

    /// Returns the earliest deadline of a response of which only the end is left.
    pub(crate) fn tail_deadline(&self) -> Tick {
        let mut next = Tick::NEVER;
        self.each_tail_deadline(|at, _| next = next.min(at));
        next
    }

    /// Returns the deadline that has passed, if any. A minimum-rate window that was kept is followed by the next one.
    /// `turn` (HTTP/2) shows if the stream has had its turn on the connection.
    pub(crate) fn expired(&self, now: Tick, turn: Option<&Turn>) -> Option<TimeoutKind> {
        let mut passed = None;
        self.each_deadline(|at, due| {
            if passed.is_none() && at <= now {
                passed = self.judge(due, now, turn);
            }
        });
        passed
    }

    /// Returns the passed deadline of a response of which only the end is left.
    pub(crate) fn tail_expired(&self, now: Tick, turn: &Turn) -> Option<TimeoutKind> {
        let mut passed = None;
        self.each_tail_deadline(|at, due| {
            if passed.is_none() && at <= now {
                passed = self.judge(due, now, Some(turn));
            }
        });
        passed
    }

    /// Decides if a deadline that has passed is a timeout.
    fn judge(&self, due: Due, now: Tick, turn: Option<&Turn>) -> Option<TimeoutKind> {
        let expired = match due {
            Due::Look => {
                self.write.look(now);
                false
            }
            Due::Timeout(TimeoutKind::WriteStall) => self.awaits_peer() && self.stalls(now, turn),
            Due::Timeout(TimeoutKind::MinWriteRate) => {
                self.awaits_peer() && self.writes_too_slowly(now, turn)
            }
            Due::Timeout(TimeoutKind::MinReadRate) => {
                let (stall, rate) = self.read_terms();
                let too_slow = |rate| self.read.judge(now, rate, stall.is_some(), 1);
                rate.map(too_slow) == Some(Verdict::TooSlow)
            }
            Due::Timeout(_) => true,
        };
        match due {
            Due::Timeout(kind) if expired => Some(kind),
            _ => None,
        }
    }

    /// Returns `true` while the server waits for the peer to take more of the response.
    fn awaits_peer(&self) -> bool {
        if self.http2 && !self.holds_data() {
            // Another thread saw it taken just as the wait began.
            self.write.forget_wait();
        }
        self.write.waits()
    }

    /// Returns `true` if the peer has taken nothing of the response for too long.
    fn stalls(&self, now: Tick, turn: Option<&Turn>) -> bool {
        if turn.is_none_or(|turn| self.untaken.had_turn(self.write.since(), turn)) {
            return true;
        }
        // The connection's progress still counts: the stream gets its turn, or it is passed over.
        self.write.progress(now);
        false
    }

    /// Returns `true` if the peer has taken too little of the response in a window of time.
    fn writes_too_slowly(&self, now: Tick, turn: Option<&Turn>) -> bool {
        let (stall, Some(rate)) = self.write_terms() else {
            return false;
        };
        if let Some(turn) = turn {
            if self.write.in_window() && !self.untaken.had_turn_in_window(turn) {
                self.write.extend(now, rate);
                return false;
            }
            self.untaken.window_begins(now, turn);
        }
        let verdict = self.write.judge(now, rate, stall.is_some(), FIRST_WINDOW);
        verdict == Verdict::TooSlow
    }

    // === each deadline ===

    pub(crate) fn header_deadline(&self) -> Tick {
        self.deadlines.header()
    }

    /// Brings the head's deadline forward: the drain has a shorter one.
    pub(crate) fn hasten_head(&self, deadline: Tick) {
        self.deadlines.hasten_header(deadline);
    }

    pub(crate) fn write_deadline(&self) -> Tick {
        self.deadlines.write()
    }

    pub(crate) fn write_expired(&self) -> bool {
        self.deadlines.write_expired()
    }

    /// Returns the deadline of the response's head; `NEVER` once the head is there.
    pub(crate) fn response_head_deadline(&self) -> Tick {
        match self.state() {
            State::Handler if !self.write_expired() => self.deadlines.response_head(),
            _ => Tick::NEVER,
        }
    }

    /// Returns the part that `of` takes from the timeouts of this request.
    pub(crate) fn terms<R>(&self, of: impl FnOnce(&Timeouts) -> R) -> R {
        if self.own_terms.load(Relaxed) {
            if let Some(terms) = &self.shared().terms {
                return of(terms);
            }
        }
        of(&self.server.timeouts)
    }

    fn read_terms(&self) -> (Option<Duration>, Option<MinRate>) {
        self.terms(|of| (of.effective_read_stall(), of.effective_min_read_rate()))
    }

    fn write_terms(&self) -> (Option<Duration>, Option<MinRate>) {
        self.terms(|of| (of.effective_write_stall(), of.effective_min_write_rate()))
    }

    // === consequences ===

    /// Cancels the handler of a response that took too long and of which nothing was sent; the substitute response has
    /// `grace` to be sent.
    pub(crate) fn expire_write(&self, kind: TimeoutKind, now: Tick, grace: Duration) {
        self.emit_timeout(kind);
        self.close_after_this();
        self.deadlines.expire_write(now.after(Some(grace)));
    }

    pub(crate) fn emit_timeout(&self, kind: TimeoutKind) {
        self.give_up(BodyEnd::Timeout);
        self.emit(|request| Event::Timeout { kind, request });
    }
}
