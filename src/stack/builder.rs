use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::Stacked;
use super::service::Outer;
#[cfg(feature = "tracing")]
use crate::access_log::AccessLogLayer;
use crate::body_limit::BodyLimitLayer;
use crate::catch_panic::CatchPanicLayer;
use crate::drain::DrainLayer;
use crate::events::EventSink;
use crate::health::HealthLayer;
use crate::in_flight::{InFlightHandle, InFlightLayer};
#[cfg(feature = "metrics")]
use crate::metrics::MetricsLayer;
use crate::phase::Lifecycle;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitLayer;
use crate::real_ip::{RealIpLayer, TrustedProxies};
use crate::request_id::RequestIdLayer;
use crate::timeout::TimeoutLayer;

/// The default body limit in bytes: that of axum's extractors.
pub(crate) const BODY_LIMIT: u64 = 2 * 1024 * 1024;

/// The default request timeout.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns all layers with their defaults, for the process of this lifecycle; see the [module](super).
pub fn stack(lifecycle: &Lifecycle) -> Stack {
    Stack {
        health: HealthLayer::off(),
        #[cfg(feature = "metrics")]
        metrics: MetricsLayer::off(),
        request_id: RequestIdLayer::off(),
        real_ip: RealIpLayer::new(TrustedProxies::none()),
        #[cfg(feature = "tracing")]
        access_log: AccessLogLayer::off(),
        in_flight: InFlightLayer::new(),
        drain: DrainLayer::new(lifecycle),
        #[cfg(feature = "rate-limit")]
        rate_limit: RateLimitLayer::off(),
        body_limit: BodyLimitLayer::new(BODY_LIMIT).without_grpc(),
        timeout: TimeoutLayer::new(TIMEOUT),
        catch_panic: CatchPanicLayer::new(),
        events: lifecycle.event_sink(),
    }
}

/// A layer that contains all layers; see the [module](super).
#[derive(Clone, Debug)]
pub struct Stack {
    health: HealthLayer,
    #[cfg(feature = "metrics")]
    metrics: MetricsLayer,
    request_id: RequestIdLayer,
    real_ip: RealIpLayer,
    #[cfg(feature = "tracing")]
    access_log: AccessLogLayer,
    in_flight: InFlightLayer,
    drain: DrainLayer,
    #[cfg(feature = "rate-limit")]
    rate_limit: RateLimitLayer,
    body_limit: BodyLimitLayer,
    timeout: TimeoutLayer,
    catch_panic: CatchPanicLayer,
    /// Added to each layer when a service is wrapped: a layer may be set after it.
    events: EventSink,
}

impl Stack {
    /// Answers health probes before any other layer sees them. Default: off.
    #[must_use]
    pub fn health(mut self, layer: HealthLayer) -> Self {
        self.health = layer;
        self
    }

    /// Measures requests. Default: off.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    #[must_use]
    pub fn metrics(mut self, layer: MetricsLayer) -> Self {
        self.metrics = layer;
        self
    }

    /// Gives each request an id. Default: off.
    #[must_use]
    pub fn request_id(mut self, layer: RequestIdLayer) -> Self {
        self.request_id = layer;
        self
    }

    /// Replaces the layer that finds the client's address. Default: trusts no proxy.
    #[must_use]
    pub fn real_ip(mut self, layer: RealIpLayer) -> Self {
        self.real_ip = layer;
        self
    }

    /// Writes a line for each request; its client is the one that [`real_ip`](Self::real_ip) found. Default: off.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    #[must_use]
    pub fn access_log(mut self, layer: AccessLogLayer) -> Self {
        self.access_log = layer;
        self
    }

    /// Replaces the in-flight layer. Default: counts.
    #[must_use]
    pub fn in_flight(mut self, layer: InFlightLayer) -> Self {
        self.in_flight = layer;
        self
    }

    /// Replaces the drain layer. Default: refuses from the drain on.
    #[must_use]
    pub fn drain(mut self, layer: DrainLayer) -> Self {
        self.drain = layer;
        self
    }

    /// Replaces the rate limit. Default: off.
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    #[must_use]
    pub fn rate_limit(mut self, layer: RateLimitLayer) -> Self {
        self.rate_limit = layer;
        self
    }

    /// Replaces the body limit. Default: 2 MiB, but not for gRPC calls; a limit that is set here holds for them too,
    /// unless it is [`without_grpc`](BodyLimitLayer::without_grpc).
    #[must_use]
    pub fn body_limit(mut self, layer: BodyLimitLayer) -> Self {
        self.body_limit = layer;
        self
    }

    /// Replaces the timeout. Default: 10 s to the head of the response.
    #[must_use]
    pub fn timeout(mut self, layer: TimeoutLayer) -> Self {
        self.timeout = layer;
        self
    }

    /// Replaces the layer that answers for a handler that panics. Default: answers.
    #[must_use]
    pub fn catch_panic(mut self, layer: CatchPanicLayer) -> Self {
        self.catch_panic = layer;
        self
    }

    /// Adds a sink for the events of all layers, whenever they are set. Default: the [hub](Lifecycle::listen) of the
    /// lifecycle.
    #[must_use]
    pub fn events(mut self, events: EventSink) -> Self {
        self.events = self.events.and(events);
        self
    }

    /// Returns a handle that reads the counts of the in-flight layer.
    pub fn in_flight_handle(&self) -> InFlightHandle {
        self.in_flight.handle()
    }
}

impl<S> Layer<S> for Stack {
    type Service = Stacked<S>;

    fn layer(&self, inner: S) -> Stacked<S> {
        let Stack { events, .. } = self;
        let inner = self.catch_panic.clone().also(events).layer(inner);
        let inner = self.timeout.clone().also(events).layer(inner);
        let inner = self.body_limit.clone().also(events).layer(inner);
        #[cfg(feature = "rate-limit")]
        let inner = self.rate_limit.clone().also(events).layer(inner);
        let outer = Outer {
            health: self.health.clone(),
            #[cfg(feature = "metrics")]
            metrics: self.metrics.clone(),
            request_id: self.request_id.clone(),
            real_ip: self.real_ip.clone().also(events),
            #[cfg(feature = "tracing")]
            access_log: self.access_log.clone(),
            in_flight: self.in_flight.clone(),
            drain: self.drain.clone().also(events),
        };
        Stacked {
            inner,
            outer: Arc::new(outer),
        }
    }
}
