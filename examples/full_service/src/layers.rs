//! What stands between a client and the routes: who it is, how much it may ask for, and how long that
//! may take.

use lameduck::{
    BodyLimitLayer, Lifecycle, RateLimitLayer, RealIpLayer, Stack, TimeoutLayer, events::Events,
    rate_limit::InvalidQuota,
};

use crate::config::Config;

pub fn stack(
    config: &Config,
    lifecycle: &Lifecycle,
    events: &Events,
) -> Result<Stack, InvalidQuota> {
    let real_ip =
        RealIpLayer::new(config.trusted_proxies.clone()).header(config.client_ip_header.clone());
    let mut rate_limit = match config.rate_limit {
        Some(quota) => RateLimitLayer::new(quota)?,
        None => RateLimitLayer::off(),
    };
    if let Some(redis) = &config.redis {
        rate_limit = rate_limit.redis(redis.clone().events(events.clone()));
    }
    let body_limit = config.body_limit.map(BodyLimitLayer::new);
    let timeout = config.request_timeout.map(TimeoutLayer::new);
    Ok(lameduck::stack(lifecycle)
        .real_ip(real_ip)
        .rate_limit(rate_limit)
        .body_limit(body_limit.unwrap_or_else(BodyLimitLayer::off))
        .timeout(timeout.unwrap_or_else(TimeoutLayer::off))
        .events(events.clone()))
}
