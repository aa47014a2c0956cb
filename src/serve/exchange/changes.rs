//! Changes of deadlines by a handler.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::deadlines::Movable;
use super::pace::Pace;
use super::request::Exchange;
use crate::control::Change;
use crate::serve::config::Timeouts;

impl Exchange {
    pub(crate) fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, Movable::Read, wait);
    }

    pub(crate) fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, Movable::Write, wait);
    }

    pub(crate) fn change_deadline(&self, epoch: u64, change: Change) {
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
        // After the terms, which restart it.
        if let Change::ResponseHead(wait) = change {
            self.move_deadline(epoch, Movable::ResponseHead, wait);
        }
    }

    /// Sets timeouts of its own for request `epoch`. The grace of `pace` begins anew.
    fn change_terms(
        &self,
        epoch: u64,
        pace: Option<&Pace>,
        change: impl FnOnce(Timeouts) -> Timeouts,
    ) {
        let mut shared = self.shared();
        if shared.epoch != epoch {
            return;
        }
        let own = self.own_terms.load(Relaxed);
        let terms = shared.terms.as_deref().filter(|_| own);
        let changed = change(terms.copied().unwrap_or(self.server.timeouts));
        match &mut shared.terms {
            Some(terms) => **terms = changed,
            terms => *terms = Some(Box::new(changed)),
        }
        self.own_terms.store(true, Relaxed);
        if let Some(pace) = pace {
            pace.restart(self.server.clock.now());
        }
        let owner = shared.owner.clone();
        drop(shared);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    fn move_deadline(&self, epoch: u64, deadline: Movable, wait: Option<Duration>) {
        let shared = self.shared();
        // Under the lock that numbers requests: the deadline that moves is this request's.
        if shared.epoch != epoch || self.write_expired() {
            return;
        }
        let moved = self.server.clock.now().after(wait);
        let before = self.deadlines.set(deadline, moved);
        // A timer that fires too early looks again by itself: only an earlier deadline needs a wake.
        let owner = shared.owner.clone().filter(|_| moved < before);
        drop(shared);
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}
