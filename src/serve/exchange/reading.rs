//! The reading of a request's body: its reader, its timeouts and its unread rest.

use std::task::{Context, Poll, Waker, ready};

use hyper::body::Incoming;

use super::body::Suspect;
use super::discard::{Discard, Discarded};
use super::request::Exchange;
use super::state::State;
use crate::events::{CloseReason, TimeoutKind};
use crate::serve::config::Timeouts;
use crate::serve::time::Tick;

impl Exchange {
    pub(crate) fn body_open(&self) -> bool {
        self.body.is_open()
    }

    pub(crate) fn read_expired(&self) -> bool {
        self.deadlines.read_expired()
    }

    /// Returns `true` the first time it is called for a request.
    pub(crate) fn first_inspection(&self) -> bool {
        self.body.first_inspection()
    }

    /// Registers the reader of the body of request `epoch`; `owed` means that the peer owes the body. Returns `false`
    /// if the body has expired, so that there is nothing to wait for.
    pub(crate) fn wait_for_body(&self, epoch: u64, waker: &Waker, owed: bool) -> bool {
        let mut shared = self.shared();
        if shared.epoch != epoch {
            return true;
        }
        // Under the lock under which `expire_read` takes the waker, so that one of the two sees the other.
        if self.read_expired() {
            return false;
        }
        let (clock, moved) = (&self.server.clock, self.read.moved());
        if let Some(kind) = shared.reading.confirm(|| clock.now(), moved) {
            drop(shared);
            self.give_read_up(kind);
            return false;
        }
        shared.reading.wait(waker);
        if owed && !self.read.waits() {
            // A reader within the owner's own poll is seen at the end of it; another may be on another task than the
            // holder of the timer.
            let seen = |owner: &&Waker| self.in_poll() && owner.will_wake(waker);
            let owner = shared.owner.as_ref().filter(|owner| !seen(owner)).cloned();
            drop(shared);
            self.body_waits();
            if let Some(owner) = owner {
                owner.wake();
            }
        }
        true
    }

    /// Expires the request body, which took too long: wakes its reader, and closes the connection afterwards.
    ///
    /// A stall is the peer's fault only while a reader waits, and a reader that has been polled once may have gone on
    /// to something else. So the reader is woken first: if it still waits it is polled again, and finds either new
    /// bytes or the end of its time.
    pub(crate) fn expire_read(&self, kind: TimeoutKind, now: Tick) {
        if kind == TimeoutKind::Read || self.state() == State::Discarding {
            self.give_read_up(kind);
        } else {
            self.read.forget_wait();
            let moved = self.read.moved();
            let suspect = Suspect {
                kind,
                at: now,
                moved,
            };
            self.shared().reading.suspect(suspect);
        }
        let reader = self.shared().reading.take_reader();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn give_read_up(&self, kind: TimeoutKind) {
        self.emit_timeout(kind);
        if !self.http2 {
            self.conn.set_close_reason(CloseReason::Timeout(kind));
        }
        self.deadlines.expire_read();
        self.close_after_this();
    }

    /// Begins a wait for the peer to send the next byte of the body.
    pub(crate) fn body_waits(&self) {
        if !self.read.waits() {
            self.read.begin_wait(self.now());
        }
    }

    /// HTTP/2: requests a `100 Continue`, because the reader waits for a body that the client holds back until then.
    pub(crate) fn ask_to_continue(&self) {
        if self.http2 {
            self.body.ask_to_continue();
            self.conn.wake();
        }
    }

    /// Returns `true`, once, after a call of [`ask_to_continue`](Self::ask_to_continue).
    pub(crate) fn takes_continue(&self) -> bool {
        self.body.takes_continue()
    }

    /// Counts bytes of the body that have come, and ends the wait for the peer.
    pub(crate) fn body_progressed(&self, bytes: usize) {
        self.read.count(bytes);
        let waited = self.read.waits();
        let head = self.response_head_deadline();
        if !waited && head == Tick::NEVER {
            return;
        }
        let now = self.now();
        if waited {
            self.read.end_wait(now);
        }
        // The handler has more input to answer.
        if head != Tick::NEVER {
            let wait = self.terms(Timeouts::effective_response_head);
            self.deadlines.extend_response_head(head, now.after(wait));
        }
    }

    /// Records that the body of request `epoch` was read to its end.
    pub(crate) fn body_complete(&self, epoch: u64) {
        self.end_body(epoch, false);
    }

    /// Records that the body of request `epoch` broke, timed out, or will not be read: the bytes behind it on the wire
    /// are not a request.
    pub(crate) fn body_broken(&self, epoch: u64) {
        self.end_body(epoch, true);
    }

    /// Returns `true` if a request body with trailers must be the last of its connection, as on HTTP/1. hyper takes the
    /// first byte behind the last chunk for a trailer's whatever it is, even a bare line feed, and with it the head of
    /// the next request; httparse then finds no trailer in it, or only those before the line feed. The apparent
    /// trailers may have been a request, and the beginning of the next one is unknown.
    pub(crate) fn ends_at_trailers(&self) -> bool {
        !self.http2
    }

    fn end_body(&self, epoch: u64, broken: bool) {
        let shared = self.shared();
        if shared.epoch != epoch {
            return;
        }
        if broken {
            // The body stays open: it was not read to its end, so the close must linger.
            self.close_after_this();
        } else {
            self.body.end();
        }
        // The next request may have waited only for this. hyper also wakes its connection when the body is dropped, but
        // the connection may have inspected by now and found the body open. While the response is being sent, its last
        // flush is to come, and inspects again.
        let waiting = self.state() == State::Discarding;
        let owner = shared.owner.clone().filter(|_| waiting);
        drop(shared);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    // === unread bodies ===

    /// Hands the unread body of request `epoch` to the owner, which decides about the rest. On HTTP/2 dropping it makes
    /// the client stop.
    pub(crate) fn leave_body(&self, epoch: u64, body: Incoming) {
        if self.http2 {
            return;
        }
        let mut shared = self.shared();
        if shared.epoch != epoch {
            return;
        }
        let leftover = Discard::new(body, self.server.limits.discard, epoch);
        shared.reading.leave(leftover);
        let owner = shared.owner.clone();
        drop(shared);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Returns `true` for a leftover that has not been polled yet, and so wakes no task.
    pub(crate) fn has_new_leftover(&self) -> bool {
        self.body_open() && self.shared().reading.has_new_leftover()
    }

    pub(crate) fn take_leftover(&self) -> Option<Discard> {
        if !self.body_open() {
            return None;
        }
        self.shared().reading.take_leftover()
    }

    /// Returns the leftover, so that the owner continues to discard it later.
    pub(crate) fn discard_later(&self, leftover: Discard) {
        self.shared().reading.leave(leftover);
    }

    /// Discards the available part of a leftover. Sets `progressed` if there was any.
    ///
    /// It concerns its own request only: the last bytes of a body and the next request's head may arrive in one read,
    /// and hyper may have begun that request by the time this is polled.
    pub(crate) fn poll_discard(
        &self,
        leftover: &mut Discard,
        cx: &mut Context<'_>,
        progressed: &mut bool,
    ) -> Poll<()> {
        loop {
            let polled = leftover.poll(cx);
            if polled.is_pending() {
                // The peer that owes the rest is waited for as by a handler.
                self.body_waits();
            }
            match ready!(polled) {
                Discarded::Some(length) => {
                    *progressed = true;
                    self.body_progressed(length);
                }
                Discarded::All => {
                    self.body_complete(leftover.epoch());
                    return Poll::Ready(());
                }
                Discarded::TooMuch { came } => {
                    if came > 0 {
                        self.body_progressed(came);
                    }
                    self.abandon_leftover(leftover);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Gives up the rest: the connection closes after the response, and lingers.
    pub(crate) fn abandon_leftover(&self, leftover: &Discard) {
        self.body_broken(leftover.epoch());
    }

    // === the call that waits for the end of the previous body ===

    /// Returns `true` while the previous request still decides about the next one, or after it has decided that there
    /// is none.
    pub(crate) fn holds_back(&self) -> bool {
        self.body_open() || self.must_close()
    }

    pub(crate) fn hold_call(&self) {
        self.body.hold_call();
    }

    pub(crate) fn call_begins(&self) {
        self.body.call_begins();
    }

    pub(crate) fn holds_call(&self) -> bool {
        self.body.holds_call()
    }

    /// Returns `true` if hyper must be polled again for the held call: hyper has no reason of its own to be.
    pub(crate) fn call_can_begin(&self) -> bool {
        self.body.call_is_pollable() && !self.holds_back()
    }
}
