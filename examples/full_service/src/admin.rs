//! The admin port for operators and Prometheus, which serves to the very end of a shutdown.

use axum::{
    Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use lameduck::{
    ConnInfo, Lifecycle,
    health::{Details, Health},
    metrics::MetricsEndpoint,
    rate_limit::redis::RedisLimiter,
    status::StatusPage,
};
use sha2::{Digest, Sha256};

use crate::{config::Config, jobs, secret::Secret, store::Store};

/// Builds the page at `/`, `/metrics`, and the jobs. Clients of this port may see why the service is not ready.
pub fn router(
    health: Health,
    metrics: MetricsEndpoint,
    page: StatusPage,
    store: &Store,
    config: &Config,
) -> Router {
    let token = config.admin_token.clone();
    let jobs = jobs::admin::router(store.clone())
        .layer(middleware::from_fn_with_state(token, allow_changes));
    Router::new()
        .nest("/admin", jobs)
        .route_service("/metrics", metrics)
        .fallback_service(page)
        .layer(health.details(Details::always()).layer())
}

/// Lets those change something who run on this machine, or have the token.
async fn allow_changes(
    State(token): State<Option<Secret<String>>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request
        .extensions()
        .get::<ConnInfo>()
        .and_then(|info| info.peer);
    let here = peer.is_some_and(|peer| peer.ip().is_loopback());
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let known = match (&token, shown) {
        (Some(token), Some(shown)) => same(token.expose(), shown),
        _ => false,
    };
    match known || (here && token.is_none()) {
        true => next.run(request).await,
        false => (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Bearer")],
            "needs the token of ADMIN_TOKEN\n",
        )
            .into_response(),
    }
}

/// Compares two secrets in a time that does not depend on where they differ.
fn same(one: &str, other: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    digest(one) == digest(other)
}

/// Checks the dependencies of this process.
pub fn health(lifecycle: &Lifecycle, store: &Store, redis: Option<&RedisLimiter>) -> Health {
    let mut health = Health::new(lifecycle).version(env!("CARGO_PKG_VERSION"));
    let store = store.clone();
    // Nothing is answered without it, on no instance; but a balancer that sees none ready says so at once.
    health = health.check("database", move || {
        let store = store.clone();
        async move { store.ping().await }
    });
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
