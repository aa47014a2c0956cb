//! The request's body: who reads it, who waits, and what is left of it.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use hyper::body::Incoming;

use super::{Exchange, State};
use crate::events::{Closed, Timeout};
use crate::serve::clock::Tick;
use crate::serve::discard::Discard;
use crate::serve::timeouts::Timeouts;
use crate::sync::set_waker;

/// A reader that is asked whether it still waits, and does not answer for so long, does not.
const ASKED: Duration = Duration::from_secs(1);

/// The body has stalled, and its reader was woken to be asked for it again.
pub(super) struct Suspect {
    kind: Timeout,
    at: Tick,
    moved: u64,
}

impl Exchange {
    /// Who is to be woken when a deadline moves or the body is left: the task that polled last.
    pub fn set_owner(&self, waker: &Waker) {
        set_waker(&mut self.cross().owner, waker);
    }

    /// The reader waits for more of the body of request `epoch`, which the peer owes or may keep to itself.
    /// `false` when it need not, because the body has expired.
    pub fn wait_for_body(&self, epoch: u64, waker: &Waker, owed: bool) -> bool {
        let mut cross = self.cross();
        if cross.epoch != epoch {
            return true;
        }
        // Under the lock under which `expire_read` takes the waker, so that one of the two sees the other.
        if self.read_expired.load(Relaxed) {
            return false;
        }
        if let Some(Suspect { kind, at, moved }) = cross.suspect.take() {
            let asked = self.server.clock.now().since(at) <= ASKED;
            if asked && self.read.moved() == moved {
                drop(cross);
                self.give_read_up(kind);
                return false;
            }
        }
        set_waker(&mut cross.reader, waker);
        if owed && !self.read.waits() {
            // A reader within the owner's own poll is seen at the end of it; another may be on another
            // task than the one that holds the timer.
            let seen = |owner: &&Waker| self.in_poll() && owner.will_wake(waker);
            let owner = cross.owner.as_ref().filter(|owner| !seen(owner)).cloned();
            drop(cross);
            self.body_waits();
            if let Some(owner) = owner {
                owner.wake();
            }
        }
        true
    }

    /// The request body took too long: its reader is woken, and the connection will close.
    ///
    /// A stall is the peer's only while there is a reader that waits, and one that has been polled once may
    /// have gone on to something else. So it is asked first: waiting still, it is polled again, and finds
    /// either what has come meanwhile or the end of its time.
    pub fn expire_read(&self, kind: Timeout, now: Tick) {
        if kind == Timeout::Read || self.state() == State::Discarding {
            self.give_read_up(kind);
        } else {
            self.read.forget_wait();
            self.cross().suspect = Some(Suspect {
                kind,
                at: now,
                moved: self.read.moved(),
            });
        }
        let reader = self.cross().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn give_read_up(&self, kind: Timeout) {
        self.tell_timeout(kind);
        if !self.http2 {
            self.conn.will_end(Closed::Timeout(kind));
        }
        self.read_expired.store(true, Relaxed);
        self.close_after_this();
    }

    /// From here on the peer is waited for, for the next byte of the body.
    pub fn body_waits(&self) {
        if !self.read.waits() {
            self.read.begin_wait(self.now());
        }
    }

    /// HTTP/2: the reader waits for a body that the client holds back until it hears `100 Continue`.
    pub fn ask_to_continue(&self) {
        if self.http2 {
            self.continue_asked.store(true, Relaxed);
            self.conn.wake();
        }
    }

    /// Whether [`ask_to_continue`](Self::ask_to_continue) was called, once.
    pub fn takes_continue(&self) -> bool {
        self.continue_asked.swap(false, Relaxed)
    }

    /// So many bytes of the body have come, and the peer is not waited for.
    pub fn body_progressed(&self, bytes: usize) {
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
        // The handler has something more to answer. Unless the deadline is being moved by hand meanwhile.
        if head != Tick::NEVER {
            let wait = self.terms(Timeouts::effective_response_head);
            let moved = now.after(wait).0;
            let deadline = &self.response_head_deadline;
            let _ = deadline.compare_exchange(head.0, moved, Relaxed, Relaxed);
        }
    }

    /// The body of request `epoch` was read to its end.
    pub fn body_complete(&self, epoch: u64) {
        self.end_body(epoch, false);
    }

    /// The body of request `epoch` broke, timed out, or will not be asked for: what follows it on the
    /// wire is no request.
    pub fn body_broken(&self, epoch: u64) {
        self.end_body(epoch, true);
    }

    /// Whether a request body with trailers is the last of its connection: on HTTP/1. hyper takes the first
    /// byte behind the last chunk for a trailer's whatever it is, a bare line feed too, and with it the head
    /// of the next request; httparse then finds no trailer in it, or only those before the line feed. What
    /// came as trailers may have been a request, and where the next one begins is not known.
    pub fn ends_at_trailers(&self) -> bool {
        !self.http2
    }

    fn end_body(&self, epoch: u64, broken: bool) {
        let cross = self.cross();
        if cross.epoch != epoch {
            return;
        }
        if broken {
            // The body stays open: it was not read to its end, so the close must linger.
            self.close_after_this();
        } else {
            self.body_open.store(false, Relaxed);
        }
        // It may be that only this was waited for before the next request. hyper wakes its connection as well when
        // the body is dropped, but the connection may have looked by now, and have found the body open.
        let waiting = self.state() == State::Discarding || self.holds_call();
        let owner = cross.owner.clone().filter(|_| waiting);
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// The body of request `epoch` was dropped unread: the owner decides what becomes of the rest. On
    /// HTTP/2 dropping it tells the client to stop.
    pub fn leave_body(&self, epoch: u64, body: Incoming) {
        if self.http2 {
            return;
        }
        let mut cross = self.cross();
        if cross.epoch != epoch {
            return;
        }
        cross.leftover = Some(Discard::new(body, self.server.limits.discard, epoch));
        let owner = cross.owner.clone();
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Whether there is a leftover that has not been polled, and so wakes nothing.
    pub fn has_new_leftover(&self) -> bool {
        self.body_open() && self.cross().leftover.as_ref().is_some_and(Discard::is_new)
    }

    pub fn take_leftover(&self) -> Option<Discard> {
        if !self.body_open() {
            return None;
        }
        self.cross().leftover.take()
    }

    /// The owner reads the rest away, or on.
    pub fn discard_later(&self, leftover: Discard) {
        self.cross().leftover = Some(leftover);
    }
}

/// A call of hyper's that has to wait.
///
/// hyper goes on to the next request when it has handed over the last of a body and has written the answer.
/// How that body ended is known when it has been read: until then the next call is held, and if the body did
/// not end exactly it is never made.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum HeldCall {
    None = 0,
    Held = 1,
    /// All that was written before it is with the socket: hyper polls its answer in its next turn.
    Pollable = 2,
}

impl Exchange {
    /// Whether the request before decides over the next one still, or has decided that there is none.
    pub fn holds_back(&self) -> bool {
        self.body_open() || self.must_close()
    }

    pub fn hold_call(&self) {
        self.held_call.store(HeldCall::Held as u8, Relaxed);
    }

    pub fn call_begins(&self) {
        self.held_call.store(HeldCall::None as u8, Relaxed);
    }

    pub fn holds_call(&self) -> bool {
        self.held_call.load(Relaxed) != HeldCall::None as u8
    }

    /// Whether hyper must be polled again for the call that is held: hyper has no reason of its own to.
    pub fn call_can_begin(&self) -> bool {
        self.held_call.load(Relaxed) == HeldCall::Pollable as u8 && !self.holds_back()
    }

    pub(super) fn written_before_call(&self) {
        if self.holds_call() {
            self.held_call.store(HeldCall::Pollable as u8, Relaxed);
        }
    }
}
