//! Events, each emitted exactly once.
//!
//! A module emits an [`Event`] and does not know its listeners; logs, metrics and a status page are listeners. Without
//! a listener an event costs one branch: it is not even constructed.
//!
//! ```
//! use lameduck::events::{Event, EventSink};
//! use lameduck::Phase;
//!
//! let events = EventSink::to(|event: &Event<'_>| println!("{event}"));
//! events.emit(|| Event::Phase(Phase::Draining));
//! ```
//!
//! A process has one hub, which belongs to its [`Lifecycle`](crate::Lifecycle). Everything created from the lifecycle,
//! or from the handle of a shutdown, emits to the hub; listeners are added at any time, in any order. A listener that
//! is passed in two places receives each event once.
//!
//! ```
//! use lameduck::events::{Event, EventSink};
//! use lameduck::{DrainLayer, Lifecycle};
//!
//! let lifecycle = Lifecycle::new(); // with `serve`: shutdown.handle().lifecycle()
//! let layer = DrainLayer::new(&lifecycle);
//! lifecycle.listen(EventSink::to(|event: &Event<'_>| println!("{event}"))); // receives the layer's refusals
//! # drop(layer);
//! ```

mod close_reason;
mod event;
mod hub;
mod request;
mod timeout_kind;

pub use close_reason::CloseReason;
pub use event::{Event, WorkerEnd};
pub(crate) use hub::Hub;
pub use request::RequestInfo;
pub(crate) use request::target;
pub use timeout_kind::TimeoutKind;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hub::Source;

/// A sink for events: it discards them by default, or passes them to listeners. Clones share the listeners.
#[derive(Clone, Default)]
pub struct EventSink {
    sources: Option<Arc<[Source]>>,
}

impl EventSink {
    /// Creates a sink that discards every event.
    pub const fn none() -> Self {
        EventSink { sources: None }
    }

    /// Creates a sink that calls `listener` for each event, synchronously on the emitting thread: it must be quick and
    /// must not block.
    ///
    /// A panic in the listener is contained: the emitting code (the accept loop, a connection, the shutdown) continues,
    /// and other listeners receive the event.
    pub fn to(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        let listener = move |event: &Event<'_>| {
            // The panic hook has reported it. Unwind safe, because the listener only borrows the event immutably.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(event)));
        };
        EventSink {
            sources: Some(Arc::new([Source::Listener(Arc::new(listener))])),
        }
    }

    /// Creates a sink that emits to the hub's listeners, present and future.
    pub(crate) fn to_hub(hub: Arc<Hub>) -> Self {
        EventSink {
            sources: Some(Arc::new([Source::Hub(hub)])),
        }
    }

    /// Adds the listeners of `other` after the existing ones. A listener in both receives an event once.
    #[must_use]
    pub fn and(self, other: EventSink) -> Self {
        if self.sources.is_none() {
            return other;
        }
        let more = other.sources().iter();
        let mut more = more
            .filter(|source| !self.sources().iter().any(|own| own.is(source)))
            .peekable();
        if more.peek().is_none() {
            return self;
        }
        let all = self.sources().iter().chain(more).cloned().collect();
        EventSink { sources: Some(all) }
    }

    /// Adds what listens here to the hub.
    pub(crate) fn add_to(&self, hub: &Arc<Hub>) {
        hub.add(self.sources());
    }

    fn sources(&self) -> &[Source] {
        self.sources.as_deref().unwrap_or_default()
    }

    /// Returns `true` if there is a listener, so that data needed only for an event is not gathered in vain.
    #[inline]
    pub(crate) fn has_listener(&self) -> bool {
        self.sources().iter().any(Source::has_listener)
    }

    /// Calls `emit` if there is a listener, for an event that borrows data needed only by itself.
    #[cfg(feature = "serve")]
    pub(crate) fn emit_with(&self, emit: impl FnOnce(&dyn Fn(&Event<'_>))) {
        if self.has_listener() {
            emit(&|event| self.deliver(event));
        }
    }

    /// Emits the event, which is constructed only if there is a listener.
    #[inline]
    pub fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if self.has_listener() {
            self.deliver(&event());
        }
    }

    fn deliver(&self, event: &Event<'_>) {
        hub::emit(|| self.sources().iter(), event);
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink")
            .field("listened_to", &self.has_listener())
            .finish()
    }
}

#[cfg(test)]
mod tests;
