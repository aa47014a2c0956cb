//! The measured cases.

use std::{convert::Infallible, future::pending, time::Duration};

use anyhow::{Context, Result};
use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use lameduck::{
    BodyLimitLayer, DrainLayer, InFlightLayer, Lifecycle, Phase, RateLimitLayer, RealIpLayer,
    TimeoutLayer, rate_limit::Quota,
};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder};
use tower_http::{
    limit::RequestBodyLimitLayer, metrics::InFlightRequestsLayer, timeout::TimeoutLayer as Within,
};

use super::{
    asking::{AskBody, Asks, Server, hello},
    case::Case,
};

const GET: (Asks, Server) = (Asks::Get, Server::Lameduck);
const KNOWN: (Asks, Server) = (Asks::Known, Server::Lameduck);
const UNKNOWN: (Asks, Server) = (Asks::Unknown, Server::Lameduck);
const AXUM_GET: (Asks, Server) = (Asks::Get, Server::Axum);

const OK: StatusCode = StatusCode::OK;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const TOO_LARGE: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// The name of the case of the service alone, the baseline of the others.
pub const BASE: &str = "service";
const BASE_KNOWN: &str = "service/known";
const BASE_UNKNOWN: &str = "service/unknown";
const BASE_AXUM: &str = "service/axum";

/// Builds the service for whatever body the layer passes on.
macro_rules! hello {
    () => {
        service_fn(hello::<_, Full<Bytes>>)
    };
    (axum) => {
        service_fn(hello::<_, AxumBody>)
    };
}

pub fn all() -> Result<Vec<Case>> {
    let mut all = vec![
        Case::new(BASE, BASE, hello!(), GET, OK),
        Case::new(BASE_KNOWN, BASE_KNOWN, hello!(), KNOWN, OK),
        Case::new(BASE_UNKNOWN, BASE_UNKNOWN, hello!(), UNKNOWN, OK),
        Case::new(BASE_AXUM, BASE_AXUM, hello!(axum), AXUM_GET, OK),
    ];
    all.extend(ours()?);
    all.extend(theirs()?);
    Ok(all)
}

async fn never(_: Request<AskBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    pending().await
}

fn ours() -> Result<Vec<Case>> {
    let serving = Lifecycle::new();
    let leaving = Lifecycle::new();
    leaving.advance(Phase::Draining);
    let drain = DrainLayer::new(&serving);
    let drain_lean = drain.clone().without_extension();
    let many = || RateLimitLayer::new(Quota::per_second(100_000_000));
    // The first request takes it, before the measurement.
    let one = || RateLimitLayer::new(Quota::per_day(1));
    let second = Duration::from_secs(1);
    let stack = lameduck::stack(&serving)
        .real_ip(RealIpLayer::new("loopback".parse()?))
        .rate_limit(many()?);
    let gone = lameduck::stack(&leaving);
    Ok(vec![
        Case::new(
            "in_flight",
            BASE,
            InFlightLayer::new().layer(hello!()),
            GET,
            OK,
        ),
        Case::new("drain", BASE, drain.layer(hello!()), GET, OK),
        Case::new(
            "drain/no_extension",
            BASE,
            drain_lean.layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "drain/refused",
            BASE,
            DrainLayer::new(&leaving).layer(hello!()),
            GET,
            UNAVAILABLE,
        ),
        Case::new(
            "real_ip",
            BASE,
            RealIpLayer::new("loopback".parse()?).layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "real_ip/refused",
            BASE,
            RealIpLayer::hops(1).refuse_unknown().layer(hello!()),
            GET,
            StatusCode::BAD_REQUEST,
        ),
        Case::new("rate_limit", BASE, many()?.layer(hello!()), GET, OK),
        Case::new(
            "rate_limit/refused",
            BASE,
            one()?.layer(hello!()),
            GET,
            TOO_MANY,
        ),
        Case::new(
            "body_limit",
            BASE,
            BodyLimitLayer::new(1 << 20).layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "body_limit/known",
            BASE_KNOWN,
            BodyLimitLayer::new(1 << 20).layer(hello!()),
            KNOWN,
            OK,
        ),
        Case::new(
            "body_limit/unknown",
            BASE_UNKNOWN,
            BodyLimitLayer::new(1 << 20).layer(hello!()),
            UNKNOWN,
            OK,
        ),
        Case::new(
            "body_limit/known/refused",
            BASE_KNOWN,
            BodyLimitLayer::new(4).layer(hello!()),
            KNOWN,
            TOO_LARGE,
        ),
        Case::new(
            "body_limit/unknown/refused",
            BASE_UNKNOWN,
            BodyLimitLayer::new(4).layer(hello!()),
            UNKNOWN,
            TOO_LARGE,
        ),
        Case::new(
            "timeout",
            BASE,
            TimeoutLayer::new(10 * second).layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "timeout/refused",
            BASE,
            TimeoutLayer::new(Duration::ZERO).layer(service_fn(never)),
            GET,
            UNAVAILABLE,
        ),
        Case::new("stack", BASE, stack.layer(hello!()), GET, OK),
        Case::new(
            "stack/refused by drain",
            BASE,
            gone.layer(hello!()),
            GET,
            UNAVAILABLE,
        ),
        Case::new(
            "stack/refused by rate_limit",
            BASE,
            stack.clone().rate_limit(one()?).layer(hello!()),
            GET,
            TOO_MANY,
        ),
    ])
}

fn theirs() -> Result<Vec<Case>> {
    let in_flight = || InFlightRequestsLayer::pair().0;
    let limit = RequestBodyLimitLayer::new;
    let within = |time| Within::with_status_code(UNAVAILABLE, time);
    let second = Duration::from_secs(1);
    let governor = |burst| {
        let mut quota = GovernorConfigBuilder::default();
        match burst {
            1 => quota.per_second(86_400),
            _ => quota.per_nanosecond(10),
        };
        let quota = quota.burst_size(burst).finish().context("the quota")?;
        anyhow::Ok(GovernorLayer::new(quota))
    };
    let many = governor(100_000_000)?;
    let one = governor(1)?;
    let stack = ServiceBuilder::new()
        .layer(in_flight())
        .layer(limit(1 << 20))
        .layer(within(10 * second))
        // The limit is the innermost layer, because it answers only with axum's own body.
        .layer(many.clone());
    Ok(vec![
        Case::new(
            "tower-http in_flight",
            BASE,
            in_flight().layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "tower-http limit",
            BASE,
            limit(1 << 20).layer(hello!()),
            GET,
            OK,
        ),
        Case::new(
            "tower-http limit/known",
            BASE_KNOWN,
            limit(1 << 20).layer(hello!()),
            KNOWN,
            OK,
        ),
        Case::new(
            "tower-http limit/unknown",
            BASE_UNKNOWN,
            limit(1 << 20).layer(hello!()),
            UNKNOWN,
            OK,
        ),
        Case::new(
            "tower-http limit/known/refused",
            BASE_KNOWN,
            limit(4).layer(hello!()),
            KNOWN,
            TOO_LARGE,
        ),
        // The handler answers itself: this layer leaves the refusal to the handler.
        Case::new(
            "tower-http limit/unknown/refused",
            BASE_UNKNOWN,
            limit(4).layer(hello!()),
            UNKNOWN,
            StatusCode::BAD_REQUEST,
        ),
        Case::new(
            "tower-http timeout",
            BASE,
            within(10 * second).layer(hello!()),
            GET,
            OK,
        ),
        // The refusal is not measured: its timer never fires before the next millisecond.
        Case::new(
            "tower_governor",
            BASE_AXUM,
            many.layer(hello!(axum)),
            AXUM_GET,
            OK,
        ),
        Case::new(
            "tower_governor/refused",
            BASE_AXUM,
            one.layer(hello!(axum)),
            AXUM_GET,
            TOO_MANY,
        ),
        Case::new(
            "their stack",
            BASE_AXUM,
            stack.service(hello!(axum)),
            AXUM_GET,
            OK,
        ),
    ])
}
