//! All layers at once, in the order in which they belong.
//!
//! | from the outside in | default of [`stack`] | why here |
//! |---|---|---|
//! | [`InFlightLayer`] | counts | what is refused further in is counted while it is being answered |
//! | [`DrainLayer`] | refuses from the drain on | nothing is spent on a request that is to go elsewhere |
//! | [`RealIpLayer`] | trusts nobody: the peer is the client | the limit counts by what it finds |
//! | `RateLimitLayer` | off | a refused request costs neither a body nor a timer |
//! | [`BodyLimitLayer`] | 1 MiB | a body that is too large never reaches the service |
//! | [`TimeoutLayer`] | 10 s to the head of the answer | measures the service alone |
//!
//! To be switched off where it is in the way: the body limit for a gRPC method whose client streams without
//! an end ([`BodyLimitLayer::per_request`]), for it counts all messages together.
//!
//! The rate limit is off until it is given a quota (feature `rate-limit`): which number is right nobody but
//! the service knows, and behind a proxy that is not yet trusted everybody is one client.
//!
//! A service that is not ready (one with tower's `ConcurrencyLimit`, all of whose permits are taken) holds a
//! request up before any layer has seen it: it is not counted, not refused and not timed until then. A handler
//! that waits for a `tokio::sync::Semaphore` of its own has all of that.
//!
//! CORS belongs right outside of the stack (`CorsLayer` of tower-http, inside of `AccessLogLayer`): a preflight is then
//! answered before it counts against the rate limit, and a refusal has the headers without which a page may not read
//! its status.
//!
//! Each layer is replaced by another of its kind, and switched off by its `off()`. What belongs outside of
//! the stack: health and metrics routes, which are not refused and not counted (they can also be exempted,
//! [`DrainLayer::exempt`]); and the layers that see what it refuses: `MetricsLayer`,
//! [`RequestIdLayer`](crate::RequestIdLayer), `AccessLogLayer`.
//!
//! ```
//! use std::time::Duration;
//! use lameduck::{BodyLimitLayer, Lifecycle, RealIpLayer, TimeoutLayer};
//!
//! let lifecycle = Lifecycle::new(); // with `serve`: shutdown.handle().lifecycle()
//! let stack = lameduck::stack(&lifecycle)
//!     .real_ip(RealIpLayer::new("10.0.0.0/8".parse()?))
//!     .body_limit(BodyLimitLayer::new(64 * 1024))
//!     .timeout(TimeoutLayer::new(Duration::from_secs(3)).gateway());
//! # #[cfg(feature = "rate-limit")]
//! let stack = {
//!     use lameduck::{RateLimitLayer, rate_limit::Quota};
//!     stack.rate_limit(RateLimitLayer::new(Quota::per_second(100).burst(200))?)
//! };
//!
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(|| async { "hello" }))
//!     .layer(stack); // the layers apply to the routes above
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! `tonic::transport::Server::builder().layer(stack)` and `tower::ServiceBuilder::new().layer(stack)` take it
//! as well; examples/stack_*.rs show one of each.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tower_layer::Layer;

use crate::body_limit::{BodyLimit, BodyLimitLayer};
use crate::drain::{Drain, DrainLayer};
use crate::events::Events;
use crate::in_flight::{InFlight, InFlightHandle, InFlightLayer};
use crate::phase::Lifecycle;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::{RateLimit, RateLimitLayer};
use crate::real_ip::{RealIp, RealIpLayer, TrustedProxies};
use crate::timeout::{Timeout, TimeoutLayer};

/// All layers with their defaults, for the process of this lifecycle; see the [module](self).
pub fn stack(lifecycle: &Lifecycle) -> Stack {
    Stack {
        in_flight: InFlightLayer::new(),
        drain: DrainLayer::new(lifecycle),
        real_ip: RealIpLayer::new(TrustedProxies::none()),
        #[cfg(feature = "rate-limit")]
        rate_limit: RateLimitLayer::off(),
        body_limit: BodyLimitLayer::new(1024 * 1024),
        timeout: TimeoutLayer::new(Duration::from_secs(10)),
        events: lifecycle.event_sink(),
    }
}

/// All layers, as one layer; see the [module](self).
#[derive(Clone, Debug)]
pub struct Stack {
    in_flight: InFlightLayer,
    drain: DrainLayer,
    real_ip: RealIpLayer,
    #[cfg(feature = "rate-limit")]
    rate_limit: RateLimitLayer,
    body_limit: BodyLimitLayer,
    timeout: TimeoutLayer,
    /// Added to each layer when a service is wrapped: a layer may be given after it.
    events: Events,
}

/// A service within a [`Stack`]. It answers requests if the service takes a
/// [`BodyLimitBody`](crate::body_limit::BodyLimitBody) for their body, as those of axum, tonic and warp
/// do, and as one does that is generic over it. Which layers are in it depends on the crate's features.
pub type Stacked<S> = InFlight<Drain<RealIp<Limited<BodyLimit<Timeout<S>>>>>>;

#[cfg(feature = "rate-limit")]
type Limited<S> = RateLimit<S>;
#[cfg(not(feature = "rate-limit"))]
type Limited<S> = S;

impl Stack {
    /// Replaces the in-flight layer.
    #[must_use]
    pub fn in_flight(mut self, layer: InFlightLayer) -> Self {
        self.in_flight = layer;
        self
    }

    /// Replaces the drain layer.
    #[must_use]
    pub fn drain(mut self, layer: DrainLayer) -> Self {
        self.drain = layer;
        self
    }

    /// Replaces the layer that finds the client's address.
    #[must_use]
    pub fn real_ip(mut self, layer: RealIpLayer) -> Self {
        self.real_ip = layer;
        self
    }

    /// Replaces the rate limit, which is off.
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    #[must_use]
    pub fn rate_limit(mut self, layer: RateLimitLayer) -> Self {
        self.rate_limit = layer;
        self
    }

    /// Replaces the body limit.
    #[must_use]
    pub fn body_limit(mut self, layer: BodyLimitLayer) -> Self {
        self.body_limit = layer;
        self
    }

    /// Replaces the timeout.
    #[must_use]
    pub fn timeout(mut self, layer: TimeoutLayer) -> Self {
        self.timeout = layer;
        self
    }

    /// Emits what all of the layers emit there too, whenever they are given. Default: to the
    /// [hub](Lifecycle::listen) of the lifecycle.
    #[must_use]
    pub fn events(mut self, events: Events) -> Self {
        self.events = self.events.and(events);
        self
    }

    /// Reads what the in-flight layer counts.
    pub fn in_flight_handle(&self) -> InFlightHandle {
        self.in_flight.handle()
    }
}

impl<S> Layer<S> for Stack {
    type Service = Stacked<S>;

    fn layer(&self, inner: S) -> Stacked<S> {
        let Stack { events, .. } = self;
        let timed = self.timeout.clone().also(events).layer(inner);
        let limited = self.body_limit.clone().also(events).layer(timed);
        #[cfg(feature = "rate-limit")]
        let limited = self.rate_limit.clone().also(events).layer(limited);
        let known = self.real_ip.clone().also(events).layer(limited);
        self.in_flight
            .layer(self.drain.clone().also(events).layer(known))
    }
}
