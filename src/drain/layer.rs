use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;

use super::Drain;
use super::shared::Shared;
use crate::events::EventSink;
use crate::phase::Lifecycle;
use crate::reply::{RefusalReason, Reply};

/// A layer that refuses requests while the process drains; see the [module](super).
#[derive(Clone)]
pub struct DrainLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl DrainLayer {
    /// Creates a layer that refuses requests from [`Phase::Draining`](crate::Phase::Draining) of this process on, with
    /// `Retry-After: 1` and no exemptions.
    pub fn new(lifecycle: &Lifecycle) -> Self {
        DrainLayer {
            shared: Some(Arc::new(Shared {
                lifecycle: lifecycle.clone(),
                reply: Reply::new(RefusalReason::Draining).retry_after(Duration::from_secs(1)),
                exempt: None,
                extension: true,
                events: lifecycle.event_sink(),
            })),
        }
    }

    /// Creates a layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        DrainLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the `Retry-After` of refusals, rounded up to a whole second, at least 1. Default: 1 s.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.with(|shared| shared.reply = Reply::new(RefusalReason::Draining).retry_after(delay))
    }

    /// Exempts requests for which `exempt` returns `true`, such as health probes and metrics: they are served to the
    /// very end. The function is called only while draining.
    #[must_use]
    pub fn exempt(self, exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.exempt = Some(Arc::new(exempt)))
    }

    /// Omits the [`Draining`](super::Draining) extension from requests, which saves its allocation. Handlers then await
    /// the drain through the [`Lifecycle`].
    #[must_use]
    pub fn without_extension(self) -> Self {
        self.with(|shared| shared.extension = false)
    }

    /// Emits [`Event::Refused`](crate::events::Event::Refused) for each refusal to `events` too. By default only the
    /// [hub](Lifecycle::listen) of the lifecycle receives it.
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        self.with(|shared| shared.events = shared.lifecycle.event_sink().and(events))
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }
}

impl DrainLayer {
    pub(crate) fn admit<B>(&self, request: &mut Request<B>) -> Option<Response<Bytes>> {
        let shared = self.shared.as_ref()?;
        let refusal = shared.drains().then(|| shared.refuse(request)).flatten();
        if refusal.is_none() {
            shared.extend(request);
        }
        refusal
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
