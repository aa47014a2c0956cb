//! The admin port for operators and Prometheus, which serves to the very end of a shutdown.

use axum::Router;
use lameduck::{
    Lifecycle,
    health::{Details, Health},
    metrics::MetricsEndpoint,
    rate_limit::redis::RedisLimiter,
    status::StatusPage,
};

/// Builds the page at `/`, and `/metrics`. Clients of this port may see why the service is not ready.
pub fn router(health: Health, metrics: MetricsEndpoint, page: StatusPage) -> Router {
    Router::new()
        .route_service("/metrics", metrics)
        .fallback_service(page)
        .layer(health.details(Details::always()).layer())
}

/// Checks the dependencies of this process. A real service checks its pool here.
pub fn health(lifecycle: &Lifecycle, redis: Option<&RedisLimiter>) -> Health {
    let mut health = Health::new(lifecycle).version(env!("CARGO_PKG_VERSION"));
    if let Some(redis) = redis.cloned() {
        // The check is optional: without Redis each instance limits for itself.
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
