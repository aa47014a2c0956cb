use std::fmt;
use std::sync::Arc;

use super::count::Count;

/// A count of activities that can be awaited until it is low enough.
///
/// Entering and leaving cost one read-modify-write of an atomic word each, and touch a lock only if a task waits for the
/// count that is reached.
pub struct Tally {
    count: Count,
}

/// A guard that counts in a [`Tally`] until it is dropped.
pub struct TallyGuard {
    tally: Arc<Tally>,
}

impl Tally {
    /// Creates a count of 0.
    pub fn new() -> Self {
        Tally {
            count: Count::new(),
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
        self.count.add()
    }

    pub(crate) fn remove(&self) {
        self.count.remove();
    }

    /// Returns the count.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Waits until the count is 0, as [`at_most(0)`](Self::at_most) does.
    pub async fn idle(&self) {
        self.at_most(0).await;
    }

    /// Waits until the count is at most `most`; returns at once if it is. The count may have risen again when the waiter
    /// runs, and a lower count may be missed if it rises at once. Cancel safe.
    pub async fn at_most(&self, most: usize) {
        self.count.at_most(most).await;
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
