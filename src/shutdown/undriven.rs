//! Reports a shutdown that is relied on and never driven: nothing would end what depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::ShutdownHandle;
use super::live::{Live, report_misuse, report_undriven};

impl ShutdownHandle {
    /// Notes that something depends on the shutdown.
    pub(super) fn note_use(&self) {
        if self.facts().used() {
            report_undriven(&self.event_sink());
        }
    }

    pub(super) fn report_misuse(&self, advice: &'static str) {
        report_misuse(&self.event_sink(), advice);
    }
}

/// A guard that reports the drop of a shutdown, until a server takes it.
pub(super) struct Undriven {
    live: Arc<Live>,
    taken: AtomicBool,
}

impl Undriven {
    pub(crate) fn new(handle: &ShutdownHandle) -> Self {
        Undriven {
            live: Live::enter(handle.facts().clone(), handle.event_sink()),
            taken: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_taken(&self) {
        if !self.taken.swap(true, Relaxed) {
            self.live.leave();
        }
    }
}

impl Drop for Undriven {
    fn drop(&mut self) {
        if *self.taken.get_mut() {
            return;
        }
        self.live.leave();
        // A panic has said already why the start failed.
        if !std::thread::panicking() {
            self.live.end();
        }
    }
}
