//! Reports a second shutdown that is driven by the signals of another.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{ShutdownHandle, Signals};

const ADVICE: &str = "a second shutdown is driven that receives the same signals as another: each drains on its own, and \
     the process may end with the first; let one server drive, and the others `follow` or `observe` its handle (or use \
     `Shutdown::for_tests()`)";

/// The number of shutdowns of the process that signals drive now.
static DRIVEN: AtomicUsize = AtomicUsize::new(0);

/// The guard of a driven shutdown that receives signals.
pub(super) struct Obeys(());

impl Obeys {
    /// Counts it until its end, and reports it if it is not the only one.
    pub(crate) fn enter(handle: &ShutdownHandle, signals: &Signals) -> Option<Self> {
        if signals.are_off() {
            return None;
        }
        // Relaxed: a count that orders nothing.
        if DRIVEN.fetch_add(1, Relaxed) > 0 {
            handle.report_misuse(ADVICE);
        }
        Some(Obeys(()))
    }
}

impl Drop for Obeys {
    fn drop(&mut self) {
        DRIVEN.fetch_sub(1, Relaxed);
    }
}
