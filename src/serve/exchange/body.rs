//! The request's body: who reads it, who waits, and what is left of it.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use hyper::body::Incoming;

use super::{Exchange, State};
use crate::serve::clock::Tick;
use crate::serve::discard::Discard;
use crate::serve::timeouts::Timeouts;

impl Exchange {
    /// Who is to be woken when a deadline moves or the body is left: the task that polled last.
    pub fn set_owner(&self, waker: &Waker) {
        let mut cross = self.cross();
        match &mut cross.owner {
            Some(owner) => owner.clone_from(waker),
            owner => *owner = Some(waker.clone()),
        }
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
        match &mut cross.reader {
            Some(reader) => reader.clone_from(waker),
            reader => *reader = Some(waker.clone()),
        }
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

    /// From here on the peer is waited for, for the next byte of the body.
    pub fn body_waits(&self) {
        if !self.read.waits() {
            self.read.begin_wait(self.now());
        }
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
        // It may be that only this was waited for before the next request.
        let waiting = self.state() == State::Discarding;
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
