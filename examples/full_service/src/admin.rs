//! What operators and Prometheus ask for, on a port of its own that is there to the very end.

use axum::Router;
use lameduck::{
    Lifecycle,
    health::{Details, Health},
    metrics::MetricsService,
    rate_limit::redis::RedisLimiter,
    status::StatusPage,
};

/// The page at `/`, and `/metrics`; whoever reaches this port may know why the service is not ready.
pub fn router(health: Health, metrics: MetricsService, page: StatusPage) -> Router {
    Router::new()
        .route_service("/metrics", metrics)
        .fallback_service(page)
        .layer(health.details(Details::always()).layer())
}

/// What this process needs in order to serve. A real service checks its pool here.
pub fn health(lifecycle: &Lifecycle, redis: Option<&RedisLimiter>) -> Health {
    let mut health = Health::new(lifecycle).version(env!("CARGO_PKG_VERSION"));
    if let Some(redis) = redis.cloned() {
        // Optional: without it each instance limits for itself.
        health = health.optional_check("redis", move || {
            let away = redis.is_away();
            async move {
                match away {
                    true => Err("away: the rate limit is each instance's own"),
                    false => Ok(()),
                }
            }
        });
    }
    health
}
