//! Reports a shutdown that is relied on and never driven: nothing would end what depends on it.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::ShutdownHandle;
use crate::events::Event;

const ADVICE: &str = "a shutdown was dropped that no server drives: its workers, closers and followers are never \
     ended, and its handle has no effect; pass it to `serve(..).shutdown(..)`, or await `Shutdown::run` or its `Server`";

impl ShutdownHandle {
    /// Notes that something depends on the shutdown.
    pub(super) fn note_use(&self) {
        if self.facts().used() {
            self.report_undriven();
        }
    }

    fn report_undriven(&self) {
        self.report_misuse(ADVICE);
    }

    pub(super) fn report_misuse(&self, advice: &'static str) {
        self.event_sink().emit(|| Event::Misconfigured { advice });
        // The event may have no listener. Best effort: there is no place left to report that this fails.
        let line = format!("lameduck: {advice}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// A guard that reports the drop of a shutdown, until a server takes it.
pub(super) struct Undriven {
    handle: ShutdownHandle,
    taken: AtomicBool,
}

impl Undriven {
    pub(crate) fn new(handle: ShutdownHandle) -> Self {
        Undriven {
            handle,
            taken: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_taken(&self) {
        self.taken.store(true, Relaxed);
    }
}

impl Drop for Undriven {
    fn drop(&mut self) {
        // A panic has said already why the start failed.
        let reports = !*self.taken.get_mut() && !std::thread::panicking();
        if reports && self.handle.facts().dropped() {
            self.handle.report_undriven();
        }
    }
}
