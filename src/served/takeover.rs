use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use http::Extensions;

use crate::events::EventSink;

/// A route's own layer has a time for the request: the layers further out yield.
pub(crate) const TIMEOUT: u8 = 1;
/// A route's own layer has a limit for the request's body.
pub(crate) const BODY_LIMIT: u8 = 2;

/// The word by which a route's own layer, which the request comes to last, makes the layers further out yield, on a
/// server that keeps none: an extension of the request, which the outermost layer that may have to yield inserts.
#[derive(Debug)]
pub(crate) struct Takeover {
    taken: AtomicU8,
    events: EventSink,
}

/// The process has routes with settings of their own: without them no request pays for the word.
static EXPECTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn expect_takeover() {
    EXPECTED.store(true, Relaxed);
}

pub(crate) fn is_expected() -> bool {
    EXPECTED.load(Relaxed)
}

impl Takeover {
    /// Returns the request's, and makes one where there is none yet. A route's own layer emits to `events`.
    pub(crate) fn of(extensions: &mut Extensions, events: &EventSink) -> Arc<Self> {
        if let Some(takeover) = extensions.get::<Arc<Self>>() {
            return takeover.clone();
        }
        let takeover = Arc::new(Takeover {
            taken: AtomicU8::new(0),
            events: events.clone(),
        });
        extensions.insert(takeover.clone());
        takeover
    }

    // Relaxed: both sides are one request's, on one task at a time.
    pub(crate) fn take(&self, what: u8) {
        self.taken.fetch_or(what, Relaxed);
    }

    pub(crate) fn taken(&self) -> u8 {
        self.taken.load(Relaxed)
    }

    pub(crate) fn event_sink(&self) -> EventSink {
        self.events.clone()
    }
}
