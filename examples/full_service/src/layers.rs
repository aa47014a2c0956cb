//! The layers between a client and the routes: the client's address, its quota, the time limit, and the records of each
//! request.

use axum::Router;
use lameduck::{
    AccessLogLayer, BodyLimitLayer, Lifecycle, Metrics, RateLimitLayer, RealIpLayer,
    RequestIdLayer, Stack, TimeoutLayer,
    events::EventSink,
    health::HealthLayer,
    in_flight::InFlightHandle,
    metrics::MetricsLayer,
    rate_limit::{InvalidQuota, redis::RedisLimiter},
    real_ip::Resolver,
};
use tower::ServiceBuilder;

use crate::config::Config;

/// The layers, from the outside in.
pub struct Layers {
    health: HealthLayer,
    metrics: MetricsLayer,
    request_id: RequestIdLayer,
    access_log: AccessLogLayer,
    stack: Stack,
}

impl Layers {
    pub fn new(
        config: &Config,
        redis: Option<&RedisLimiter>,
        lifecycle: &Lifecycle,
        health: HealthLayer,
        metrics: &Metrics,
        events: &EventSink,
    ) -> Result<Self, InvalidQuota> {
        let resolver =
            Resolver::new(config.trusted_proxies.clone()).header(config.client_ip_header.clone());
        let mut rate_limit = match config.rate_limit {
            Some(quota) => RateLimitLayer::new(quota)?,
            None => RateLimitLayer::off(),
        };
        if let Some(redis) = redis {
            rate_limit = rate_limit.redis(redis.clone());
        }
        metrics.rate_limit(rate_limit.handle());
        let body_limit = config.body_limit.map(BodyLimitLayer::new);
        let timeout = config.request_timeout.map(TimeoutLayer::new);
        let stack = lameduck::stack(lifecycle)
            .real_ip(RealIpLayer::from(resolver.clone()))
            .rate_limit(rate_limit)
            .body_limit(body_limit.unwrap_or_else(BodyLimitLayer::off))
            .timeout(timeout.unwrap_or_else(TimeoutLayer::off))
            .events(events.clone());
        metrics.in_flight(stack.in_flight_handle());
        Ok(Self {
            health,
            metrics: metrics.layer(),
            request_id: RequestIdLayer::new(),
            access_log: AccessLogLayer::new()
                .client(move |peer, headers| resolver.resolve(peer, headers).ip),
            stack,
        })
    }

    /// Puts the layers around these routes.
    pub fn around(self, routes: Router) -> Router {
        let layers = ServiceBuilder::new()
            // Probes pass all other layers: a draining service is still alive, must be able to report so, and does not
            // count its probes as work.
            .layer(self.health)
            .layer(self.metrics)
            .layer(self.request_id)
            .layer(self.access_log)
            .layer(self.stack);
        routes.layer(layers)
    }

    pub fn in_flight(&self) -> InFlightHandle {
        self.stack.in_flight_handle()
    }
}
