use std::fmt;
use std::sync::Arc;

use crate::sync::{AtomicUsize, Notify, Ordering};

/// The lowest bit: a task waits for the count to reach 0.
const WAITING: usize = 1;
/// The unit of the count, above that bit.
const ONE: usize = 2;

/// A count of activities that can be awaited until it is 0.
///
/// It is one atomic word (the design of `tokio_util::task::TaskTracker`). Entering and leaving cost one
/// read-modify-write each, and touch the notification's lock only if a task waits.
pub struct Tally {
    word: AtomicUsize,
    idle: Notify,
}

/// A guard that counts in a [`Tally`] until it is dropped.
pub struct TallyGuard {
    tally: Arc<Tally>,
}

impl Tally {
    /// Creates a count of 0.
    pub fn new() -> Self {
        Tally {
            word: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Increments the count until the guard is dropped.
    pub fn enter(this: &Arc<Self>) -> TallyGuard {
        this.add();
        TallyGuard {
            tally: this.clone(),
        }
    }

    /// Increments the count without a guard and returns it; `remove` must follow.
    pub(crate) fn add(&self) -> usize {
        // Relaxed: entering publishes nothing. A task that waits for 0 synchronises with the leaving, below.
        self.word.fetch_add(ONE, Ordering::Relaxed) / ONE + 1
    }

    pub(crate) fn remove(&self) {
        // AcqRel. Release: what was done while counted happens before what the waiter does on seeing 0 (Acquire in
        // `count`). Acquire: the last guard to leave has all the others' work behind it when it wakes the waiter.
        let before = self.word.fetch_sub(ONE, Ordering::AcqRel);
        if before == ONE | WAITING {
            self.idle.notify_waiters();
        }
    }

    /// Returns the count.
    pub fn count(&self) -> usize {
        self.word.load(Ordering::Acquire) / ONE
    }

    /// Waits until the count is 0; returns at once if it is. The count may have risen again when the waiter runs.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            // The waiter is enabled first; then the bit is set in one step with reading the count. A guard that leaves
            // after this step sees the bit and notifies; the effect of one that left before is read here. AcqRel for
            // the pairing named in `remove`. The bit stays set: a later crossing of 0 then notifies no waiter, which is
            // harmless.
            let before = self.word.fetch_or(WAITING, Ordering::AcqRel);
            if before / ONE == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for TallyGuard {
    fn drop(&mut self) {
        self.tally.remove();
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.count()).finish()
    }
}

impl fmt::Debug for TallyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TallyGuard").finish_non_exhaustive()
    }
}
