//! The request's body: who reads it, who waits, and what is left of it.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use hyper::body::Incoming;

use super::{Exchange, State};
use crate::serve::clock::Tick;
use crate::serve::discard::Discard;

impl Exchange {
    /// Who is to be woken when a deadline moves or the body is left: the task that polled last.
    pub fn set_owner(&self, waker: &Waker) {
        let mut cross = self.cross();
        match &mut cross.owner {
            Some(owner) => owner.clone_from(waker),
            owner => *owner = Some(waker.clone()),
        }
    }

    /// The reader waits for more of the body of request `epoch`. `false` when it need not, because
    /// the body has expired.
    pub fn wait_for_body(&self, epoch: u64, waker: &Waker) -> bool {
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
        if self.server.timeouts.effective_read_stall().is_some()
            && Tick(self.read_blocked.load(Relaxed)) == Tick::NEVER
        {
            self.read_blocked.store(self.server.clock.now().0, Relaxed);
            let owner = cross.owner.clone();
            drop(cross);
            // The reader may be on another task than the one that holds the timer.
            if let Some(owner) = owner {
                owner.wake();
            }
        }
        true
    }

    pub fn body_progressed(&self) {
        self.read_blocked.store(Tick::NEVER.0, Relaxed);
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
