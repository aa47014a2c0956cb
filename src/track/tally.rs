use std::fmt;
use std::sync::Arc;

use crate::sync::{AtomicUsize, Notify, Ordering};

/// The lowest bit: somebody waits for the count to be 0.
const WAITING: usize = 1;
/// The count stands above it.
const ONE: usize = 2;

/// How many of something are going on, and a way to wait until it is none.
///
/// One atomic word (the design is `tokio_util::task::TaskTracker`'s). Entering and leaving cost one
/// read-modify-write each, and touch the notification's lock only when somebody waits.
pub struct Tally {
    word: AtomicUsize,
    idle: Notify,
}

/// One of a [`Tally`]; dropping it takes it off the count.
pub struct TallyGuard {
    tally: Arc<Tally>,
}

impl Tally {
    /// A count of 0.
    pub fn new() -> Self {
        Tally {
            word: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Counts one more, until the guard is dropped.
    pub fn enter(this: &Arc<Self>) -> TallyGuard {
        this.add();
        TallyGuard {
            tally: this.clone(),
        }
    }

    /// Counts one more without a guard and says how many there are; `remove` must follow.
    pub(crate) fn add(&self) -> usize {
        // Relaxed: entering publishes nothing. Whoever waits for idleness synchronises with the
        // leaving, below.
        self.word.fetch_add(ONE, Ordering::Relaxed) / ONE + 1
    }

    pub(crate) fn remove(&self) {
        // AcqRel: what was done while counted happens before what the waiter does on seeing 0
        // (Release here, Acquire in `count`); Acquire so that the last one to leave has all the
        // others' work behind it when it wakes the waiter.
        let before = self.word.fetch_sub(ONE, Ordering::AcqRel);
        if before == ONE | WAITING {
            self.idle.notify_waiters();
        }
    }

    /// How many there are now.
    pub fn count(&self) -> usize {
        self.word.load(Ordering::Acquire) / ONE
    }

    /// Waits until the count is 0: at once if it is. The count may have risen again when the waiter runs.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            // Enrolled first; the bit is set afterwards and in one step with reading the count: a
            // guard that leaves after this step sees the bit and notifies, one that left before it is
            // seen by it. AcqRel for the pairing named in `remove`. The bit stays: a later crossing of
            // 0 then notifies nobody in particular, which is harmless.
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
