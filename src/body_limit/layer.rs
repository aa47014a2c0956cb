use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use super::shared::{self, Shared};
use super::{BodyLimit, RouteBodyLimit};
use crate::events::EventSink;

/// A layer that refuses request bodies over a limit; see the [module](super).
#[doc(alias("RequestBodyLimitLayer", "DefaultBodyLimit"))]
#[derive(Clone)]
pub struct BodyLimitLayer {
    pub(super) shared: Arc<Shared>,
}

impl BodyLimitLayer {
    /// Creates a layer with a limit in `bytes` for each request's body, as they arrive on the wire (without the
    /// framing); trailers are not counted. With 0 any body is refused.
    pub fn new(bytes: u64) -> Self {
        Self::with_limit(Some(bytes))
    }

    /// Creates a layer that does nothing: it has no limit, and does not look at the settings of requests. To limit only
    /// the routes that set a limit, use `new(u64::MAX)`.
    pub fn off() -> Self {
        Self::with_limit(None)
    }

    fn with_limit(limit: Option<u64>) -> Self {
        BodyLimitLayer {
            shared: Arc::new(Shared {
                limit,
                per_request: None,
                grpc: true,
                reply: Arc::new(shared::reply(limit.unwrap_or(u64::MAX))),
                events: EventSink::none(),
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Leaves gRPC calls (a POST with a content type of `application/grpc` or of a kind of it) to the limit that a gRPC
    /// library has for each message, unless a limit is set for the request itself. Default: all messages of a call
    /// together are held to the limit.
    ///
    /// Any client can send that content type: a handler that collects raw bodies itself needs a limit of its own.
    #[must_use]
    pub fn without_grpc(self) -> Self {
        self.with(|shared| shared.grpc = false)
    }

    /// Sets a function that returns each request's own limit. `None` leaves it to the [`RouteBodyLimit`] among the
    /// request's extensions, and without one to the layer's. Default: no function.
    #[must_use]
    pub fn per_request(
        self,
        limit: impl Fn(&Parts) -> Option<RouteBodyLimit> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.per_request = Some(Arc::new(limit)))
    }

    /// Sets the sink that receives each refusal once, as [`Event::Refused`](crate::events::Event::Refused). A body that
    /// was cut counts as one, even if the handler answered the 413 itself, or had answered before.
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        self.with(|shared| shared.events = events)
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for BodyLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimitLayer")
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}
