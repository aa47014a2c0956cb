use std::sync::Arc;

use tower_layer::Layer;

use super::CatchPanic;
use super::shared::Shared;
use crate::events::EventSink;

/// Answers for a handler that panics; see the [module](super).
#[derive(Clone, Debug)]
pub struct CatchPanicLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl CatchPanicLayer {
    /// Catches panics, and emits no events.
    pub fn new() -> Self {
        CatchPanicLayer {
            shared: Some(Arc::new(Shared {
                events: EventSink::none(),
            })),
        }
    }

    /// A layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        CatchPanicLayer { shared: None }
    }

    /// Emits [`Event::Panicked`](crate::events::Event::Panicked) for each panic there.
    #[must_use]
    pub fn events(mut self, events: EventSink) -> Self {
        if let Some(shared) = &mut self.shared {
            Arc::make_mut(shared).events = events;
        }
        self
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        let own = match &self.shared {
            Some(shared) => shared.events.clone(),
            None => return self,
        };
        self.events(own.and(events.clone()))
    }
}

impl Default for CatchPanicLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic {
            inner,
            shared: self.shared.clone(),
        }
    }
}
