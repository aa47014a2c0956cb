use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use super::shared::Shared;
use super::{RouteTimeout, Timeout};
use crate::events::EventSink;
use crate::reply::RefusalReason;

/// A layer that refuses a request that takes too long; see the [module](super).
#[doc(alias("grpc-timeout"))]
#[derive(Clone)]
pub struct TimeoutLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl TimeoutLayer {
    /// Creates a layer that limits the time from the call of the service to the head of the response.
    ///
    /// A time longer than a clock can count (`Duration::MAX`) never passes: then only a route's time and `grpc-timeout`
    /// are in force.
    pub fn new(time: Duration) -> Self {
        TimeoutLayer {
            shared: Some(Arc::new(Shared {
                after: time,
                reason: RefusalReason::RequestTimeout,
                grpc_timeout: true,
                whole: false,
                per_request: None,
                events: EventSink::none(),
            })),
        }
    }

    /// Creates a layer of the same type that does nothing: it reads no extension, calls no function, and leaves
    /// `grpc-timeout` to the service. Later settings change nothing.
    pub fn off() -> Self {
        TimeoutLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Answers 504 instead of 503: for a service that spends its time waiting for another one. A gRPC call still gets
    /// DEADLINE_EXCEEDED.
    #[must_use]
    pub fn gateway(self) -> Self {
        self.with(|shared| shared.reason = RefusalReason::GatewayTimeout)
    }

    /// Ignores `grpc-timeout`. Default: the shorter of the server's time and the client's is in force.
    #[must_use]
    pub fn without_grpc_timeout(self) -> Self {
        self.with(|shared| shared.grpc_timeout = false)
    }

    /// Extends the limited time to the end of the response's body. Default: to its head.
    ///
    /// Not for a route that streams without an end: switch it off there by [`RouteTimeout::off`].
    #[doc(alias("ResponseBodyTimeoutLayer"))]
    #[must_use]
    pub fn whole_response(self) -> Self {
        self.with(|shared| shared.whole = true)
    }

    /// Sets a function that returns the time of a request from its head; `None` leaves it to the extension or the
    /// layer. It is called on the request path and must not block.
    ///
    /// With axum, in `Router::layer`, the route is known:
    ///
    /// ```
    /// # use lameduck::{TimeoutLayer, timeout::RouteTimeout};
    /// # use std::time::Duration;
    /// use axum::extract::MatchedPath;
    ///
    /// let timeout = TimeoutLayer::new(Duration::from_secs(10)).per_request(|head| {
    ///     match head.extensions.get::<MatchedPath>()?.as_str() {
    ///         "/export/{id}" => Some(RouteTimeout::after(Duration::from_secs(120))),
    ///         "/events" => Some(RouteTimeout::off()),
    ///         _ => None,
    ///     }
    /// });
    /// # let app: axum::Router = axum::Router::new().layer(timeout);
    /// ```
    #[must_use]
    pub fn per_request(
        self,
        time: impl Fn(&Parts) -> Option<RouteTimeout> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.per_request = Some(Arc::new(time)))
    }

    /// Sets the sink that receives each expiry once, as [`Event::Refused`](crate::events::Event::Refused), be it in the
    /// head or in the body, and each `grpc-timeout` that was ignored, as
    /// [`Event::MalformedGrpcTimeout`](crate::events::Event::MalformedGrpcTimeout).
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        self.with(|shared| shared.events = events)
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for TimeoutLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            None => f.write_str("TimeoutLayer(off)"),
            Some(shared) => shared.fmt_as("TimeoutLayer", f),
        }
    }
}

impl Shared {
    fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("after", &self.after)
            .field("reason", &self.reason)
            .field("grpc_timeout", &self.grpc_timeout)
            .field("whole_response", &self.whole)
            .field("per_request", &self.per_request.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as("Shared", f)
    }
}
