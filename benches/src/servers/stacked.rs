use std::{env, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use lameduck::{
    BodyLimitLayer, DrainLayer, InFlightLayer, RateLimitLayer, RealIpLayer, TimeoutLayer,
    rate_limit::Quota,
};
use tower::{Layer, service_fn};

use super::lameduck_serve::{is_probe, lameduck_serve};

const LAYERS: [&str; 6] = [
    "in_flight",
    "drain",
    "real_ip",
    "rate_limit",
    "body_limit",
    "timeout",
];

/// Serves the service through `lameduck::serve`, within the whole stack, none of whose limits is ever reached.
///
/// `LAYERS=drain,timeout` switches off all layers but these; `LAYERS=` all of them. `EXTENSIONS=0` omits the
/// extensions, and with them the peer that is counted.
pub fn stacked() -> Result<ExitCode> {
    let extensions = env::var_os("EXTENSIONS").is_none_or(|value| value != "0");
    let wanted = env::var("LAYERS").unwrap_or_else(|_| LAYERS.join(","));
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    ensure!(
        wanted.iter().all(|name| LAYERS.contains(name)),
        "LAYERS takes of {LAYERS:?}, not {wanted:?}"
    );
    let on = |name| wanted.contains(&name);
    lameduck_serve(extensions, |lifecycle, app| {
        let mut stack = lameduck::stack(lifecycle);
        if on("drain") {
            let mut drain = DrainLayer::new(lifecycle).exempt(is_probe);
            if !extensions {
                drain = drain.without_extension();
            }
            stack = stack.drain(drain);
        } else {
            stack = stack.drain(DrainLayer::off());
        }
        if !on("in_flight") {
            stack = stack.in_flight(InFlightLayer::off());
        }
        stack = stack.real_ip(match on("real_ip") {
            true => RealIpLayer::new("loopback".parse()?),
            false => RealIpLayer::off(),
        });
        if on("rate_limit") {
            stack = stack.rate_limit(RateLimitLayer::new(Quota::per_second(100_000_000))?);
        }
        stack = stack.body_limit(match on("body_limit") {
            true => BodyLimitLayer::new(1024 * 1024),
            false => BodyLimitLayer::off(),
        });
        stack = stack.timeout(match on("timeout") {
            true => TimeoutLayer::new(Duration::from_secs(10)),
            false => TimeoutLayer::off(),
        });
        Ok(stack.layer(service_fn(move |request| app.call(request))))
    })
}
