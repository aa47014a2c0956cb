use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use super::Drain;
use super::shared::Shared;
use crate::events::Events;
use crate::phase::Lifecycle;
use crate::reply::{Reason, Reply};

/// Refuses requests while the process drains; see the [module](super).
#[derive(Clone)]
pub struct DrainLayer {
    /// `None`: off.
    shared: Option<Arc<Shared>>,
}

impl DrainLayer {
    /// Refuses from [`Phase::Draining`](crate::Phase::Draining) of this process on, with
    /// `Retry-After: 1`, and exempts nothing.
    pub fn new(lifecycle: &Lifecycle) -> Self {
        DrainLayer {
            shared: Some(Arc::new(Shared {
                lifecycle: lifecycle.clone(),
                reply: Reply::new(Reason::Draining).retry_after(Duration::from_secs(1)),
                exempt: None,
                extension: true,
                events: lifecycle.event_sink(),
            })),
        }
    }

    /// A layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        DrainLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// When a refused client should come back; rounded up to a whole second, at least 1. Default: 1 s.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.with(|shared| shared.reply = Reply::new(Reason::Draining).retry_after(wait))
    }

    /// Requests for which `exempt` says `true` are served to the very end: health probes, metrics.
    /// Asked only while draining.
    #[must_use]
    pub fn exempt(self, exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.exempt = Some(Arc::new(exempt)))
    }

    /// Leaves the [`Draining`](super::Draining) extension out of the requests that pass, which saves
    /// its allocation. Handlers then await the drain through the [`Lifecycle`].
    #[must_use]
    pub fn without_extension(self) -> Self {
        self.with(|shared| shared.extension = false)
    }

    /// Emits each refusal, [`Event::Refused`], there too. Default: to the [hub](Lifecycle::listen) of the lifecycle.
    #[must_use]
    pub fn events(self, events: Events) -> Self {
        self.with(|shared| shared.events = shared.lifecycle.event_sink().and(events))
    }

    pub(crate) fn also(self, events: &Events) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for DrainLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainLayer")
            .field("shared", &self.shared)
            .finish()
    }
}
