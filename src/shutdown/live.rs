//! The shutdowns that no server has taken yet. The end of the process drops none of them, so it reports them from here.

use std::sync::Arc;

use super::facts::Facts;
use crate::events::{Event, EventSink};
use crate::stderr;
use crate::sync::Lock;

const ADVICE: &str = "a shutdown has ended that no server drives: its workers, closers and followers are never ended, \
     and its handle has no effect; pass it to `serve(..).shutdown(..)`, or await `Shutdown::run` or its `Server`";

static LIVE: Lock<Vec<Arc<Live>>> = Lock::new(Vec::new());

/// A shutdown that no server has taken yet.
pub(super) struct Live {
    facts: Arc<Facts>,
    events: EventSink,
}

impl Live {
    /// Notes a shutdown, until it [leaves](Self::leave).
    pub(crate) fn enter(facts: Arc<Facts>, events: EventSink) -> Arc<Self> {
        let live = Arc::new(Live { facts, events });
        LIVE.lock().push(live.clone());
        live
    }

    /// Forgets it: it is driven, or reported at its drop.
    pub(crate) fn leave(self: &Arc<Self>) {
        LIVE.lock().retain(|other| !Arc::ptr_eq(other, self));
    }

    /// Reports it if something depends on it.
    pub(crate) fn end(&self) {
        if self.facts.dropped() {
            report_undriven(&self.events);
        }
    }
}

/// Reports all that are left, at the end of the process.
pub(super) fn end_all() {
    // Without the lock: a listener is foreign code.
    let live = std::mem::take(&mut *LIVE.lock());
    for shutdown in live {
        shutdown.end();
    }
}

pub(super) fn report_undriven(events: &EventSink) {
    report_misuse(events, ADVICE);
}

/// Reports a misuse of shutdowns. On standard error too: the event may have no listener.
pub(super) fn report_misuse(events: &EventSink, advice: &'static str) {
    events.emit(|| Event::Misconfigured { advice });
    stderr::line(&format!("lameduck: {advice}"));
}
