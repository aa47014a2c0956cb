use std::sync::atomic::{AtomicU8, Ordering};

const USED: u8 = 1;
const DROPPED: u8 = 2;

/// The facts about a shutdown that make it a misconfiguration together: used, and dropped before a server took it.
#[derive(Default)]
pub(super) struct Facts(AtomicU8);

impl Facts {
    /// Adds that something depends on it. Returns `true` if that completes the facts, which happens once.
    pub(crate) fn used(&self) -> bool {
        self.add(USED)
    }

    /// Adds that it was dropped. Returns `true` if that completes the facts, which happens once.
    pub(crate) fn dropped(&self) -> bool {
        self.add(DROPPED)
    }

    fn add(&self, fact: u8) -> bool {
        // Relaxed: the word alone decides.
        let before = self.0.fetch_or(fact, Ordering::Relaxed);
        before != USED | DROPPED && before | fact == USED | DROPPED
    }
}
