use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, Request};
use tower_layer::Layer;

use super::BodyLimit;
use crate::events::{Event, Events, Subject};
use crate::reply::Reason;

/// Refuses a request body that is too large; see the [module](super).
#[derive(Clone)]
pub struct BodyLimitLayer {
    pub(super) shared: Arc<Shared>,
}

/// The request extension by which an outer layer sets another limit for one request.
///
/// ```
/// use lameduck::body_limit::RouteBodyLimit;
///
/// fn route<B>(request: &mut http::Request<B>) {
///     if request.uri().path() == "/import" {
///         request.extensions_mut().insert(RouteBodyLimit::bytes(1 << 30));
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteBodyLimit {
    limit: Option<u64>,
}

type PerRequest = dyn Fn(&Parts) -> Option<RouteBodyLimit> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    /// `None`: the layer is off.
    pub limit: Option<u64>,
    pub per_request: Option<Arc<PerRequest>>,
    events: Events,
}

impl RouteBodyLimit {
    /// At most so many bytes; 0 takes no body at all.
    pub const fn bytes(most: u64) -> Self {
        RouteBodyLimit { limit: Some(most) }
    }

    /// No limit.
    pub const fn off() -> Self {
        RouteBodyLimit { limit: None }
    }
}

impl BodyLimitLayer {
    /// At most so many `bytes` of each request's body, as they arrive on the wire (without the framing);
    /// trailers are not counted. 0 takes no body at all.
    pub fn new(bytes: u64) -> Self {
        Self::with_limit(Some(bytes))
    }

    /// Does nothing: no limit, and what sets one for a request is not looked at. For no limit but where
    /// a route has one, use `new(u64::MAX)`.
    pub fn off() -> Self {
        Self::with_limit(None)
    }

    fn with_limit(limit: Option<u64>) -> Self {
        BodyLimitLayer {
            shared: Arc::new(Shared {
                limit,
                per_request: None,
                events: Events::none(),
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Asks `limit` for each request's own limit. `None` leaves it to the [`RouteBodyLimit`] among the
    /// request's extensions, and without one to the layer's. Default: not asked.
    #[must_use]
    pub fn per_request(
        self,
        limit: impl Fn(&Parts) -> Option<RouteBodyLimit> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.per_request = Some(Arc::new(limit)))
    }

    /// Tells each refusal, [`Event::Refused`], once; a body that was cut counts as one, also when the
    /// handler answered the 413 itself, or had answered before.
    #[must_use]
    pub fn events(self, events: Events) -> Self {
        self.with(|shared| shared.events = events)
    }
}

impl Shared {
    /// The limit of a request for which `own` was said.
    pub fn limit_of(&self, own: Option<RouteBodyLimit>, extensions: &Extensions) -> Option<u64> {
        self.limit?;
        let limit = match own.or_else(|| extensions.get().copied()) {
            Some(RouteBodyLimit { limit }) => limit,
            None => self.limit,
        };
        // No body can be over it, so there is nothing to watch.
        limit.filter(|limit| *limit < u64::MAX)
    }

    /// What names the request of an event that is emitted when the body has run over.
    pub fn subject<B>(&self, request: &Request<B>) -> Subject {
        Subject::of(request, self.events.is_heard())
    }

    pub fn tell_refused(&self, subject: &Subject) {
        let reason = Reason::BodyTooLarge;
        subject.emit(&self.events, |request| Event::Refused { reason, request });
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
