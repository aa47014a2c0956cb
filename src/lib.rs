//! HTTP and gRPC serving that is safe to expose to the internet and safe to replace under load.
//!
//! > Swap `axum::serve(listener, app)` for `lameduck::serve(listener, app)` and no deploy loses a request, no slow
//! > client holds a connection, and when something is cut the report names it.
//!
//! *Lame duck* is the operations term for a server that still serves but asks its clients to go elsewhere.
//!
//! ```no_run
//! # #[cfg(feature = "serve")]
//! # #[tokio::main]
//! # async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//!
//! let app = Router::new().route("/", get(|| async { "hello\n" }));
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
//!
//! let report = lameduck::serve(listener, app).await?; // until SIGTERM or Ctrl-C, and the drain after it
//! println!("{report}");
//! Ok(report.exit_code())
//! # }
//! # #[cfg(not(feature = "serve"))]
//! # fn main() {}
//! ```
//!
//! # Modules
//!
//! | module | purpose |
//! |---|---|
//! | [`server`] | a service with everything that belongs to it, in one builder (feature `serve`) |
//! | [`serve`](mod@serve) | the server: connections, deadlines, the drain of connections (feature `serve`) |
//! | [`shutdown`] | from the signal to the end of the process: phases, workers, closers, the report (feature `serve`) |
//! | [`drain`] | the layer that refuses new requests while the process drains |
//! | [`in_flight`] | the layer that counts and names the requests in flight |
//! | [`real_ip`] | the layer that finds the client's address behind trusted proxies |
//! | `rate_limit` | the layer that refuses requests over a quota, per process or shared through Redis (features `rate-limit`, `redis`) |
//! | [`body_limit`] | the layer that refuses bodies that are too large |
//! | [`timeout`] | the layer that responds when a service takes too long |
//! | [`catch_panic`] | the layer that responds when a handler panics |
//! | [`per_route`] | the layer of a route: its own limits, deadlines and streaming |
//! | `metrics` | the layer that measures requests, and a `/metrics` endpoint for Prometheus (feature `metrics`) |
//! | [`stack`](mod@stack) | all the layers at once, in the right order |
//! | [`request_id`] | the layer that gives each request an id |
//! | `access_log` | the layer that writes one line for each request (feature `tracing`) |
//! | [`health`] | liveness, readiness and start-up, over HTTP and gRPC; checks of dependencies |
//! | [`phase`] | the process's phase, which the other modules read |
//! | [`reply`] | the responses to refused requests, on HTTP/1, HTTP/2 and gRPC |
//! | [`track`] | counters and bodies that record their end exactly once |
//! | [`events`] | events, each emitted once, to any listener |
//! | `logs` | the listener that writes events as `tracing` lines (feature `tracing`) |
//! | `status` | a page to watch a drain (feature `status`) |
//!
//! # Layer order
//!
//! From the outside in:
//!
//! 1. [`HealthLayer`], so that probes reach no other layer;
//! 2. `MetricsLayer`, [`RequestIdLayer`] and `AccessLogLayer`, which also see the requests that inner layers refuse;
//! 3. CORS, if any (see [`stack`](mod@stack));
//! 4. the layers that [`stack()`] composes: [`InFlightLayer`], [`DrainLayer`], [`RealIpLayer`], `RateLimitLayer`,
//!    [`BodyLimitLayer`], [`TimeoutLayer`], [`CatchPanicLayer`];
//! 5. your own layers.
//!
//! They are tower layers over `http` requests and work with axum, tonic, warp or a plain `service_fn`. They do not need
//! `serve`, but only `serve` sees the socket.
//!
//! # Features
//!
//! | feature | adds | dependencies |
//! |---|---|---|
//! | (none) | all layers except `rate_limit` | core crates, `ipnet`, tokio's `rt`, `sync` and `time` |
//! | `serve` | `Server`, `serve`, `serve_with_timeouts`, `serve_connection_with_timeouts`, `shutdown` | hyper, tokio's `net`, `time`, `signal` |
//! | `rate-limit` | `RateLimitLayer` | governor, indexmap, sha2 |
//! | `redis` | a rate limit shared between instances | `rate-limit`, the redis crate |
//! | `tonic` | the gRPC health service, by readiness | tonic without its defaults, tonic-health |
//! | `axum` | `ConnectInfo` from `serve`, matched routes in `in_flight`, `ClientIp` as an extractor | axum, without its defaults |
//! | `tracing` | `logs` and `AccessLogLayer` | tracing, without its defaults |
//! | `metrics` | `MetricsLayer`, `Metrics` | prometheus-client |
//! | `status` | `status::StatusPage` | `serve` |
//! | `web` | `serve`, `axum`, `rate-limit`, `tracing`, `metrics`, `status`: what most services want | |
//! | `full` | all of them | |
//!
//! The crate has no unsafe code except one system call (`ioctl(SIOCOUTQ)`, on Linux). MSRV: 1.85.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        unreachable_pub,
        unnameable_types,
        clippy::disallowed_methods,
        clippy::disallowed_types
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Modules are arranged in layers and import only from lower ones. `tests/floors.rs` holds the table, and fails on an
// import from a higher layer and on files that import each other in a circle.

#[macro_use]
mod all;

mod accept;
#[cfg(feature = "tracing")]
pub mod access_log;
mod allowed_hosts;
pub mod body_limit;
pub mod catch_panic;
mod conn_info;
mod control;
#[cfg(feature = "serve")]
mod deadlines;
pub mod drain;
mod error;
pub mod events;
mod grpc;
mod head;
// Checks and their ages are few and slow.
#[allow(clippy::disallowed_methods)]
pub mod health;
mod id;
pub mod in_flight;
mod json;
// One look for each kind of line.
#[allow(clippy::disallowed_methods)]
#[cfg(feature = "tracing")]
pub mod logs;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "serve")]
mod min_rate;
pub mod per_route;
pub mod phase;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod real_ip;
pub mod reply;
pub mod request_id;
mod route;
#[cfg(feature = "serve")]
mod runtime;
#[cfg(feature = "serve")]
pub mod serve;
mod served;
#[cfg(feature = "serve")]
pub mod server;
// A few looks in the life of a process.
#[allow(clippy::disallowed_methods)]
#[cfg(feature = "serve")]
pub mod shutdown;
#[cfg(any(feature = "metrics", feature = "status"))]
mod single_flight;
pub mod stack;
#[cfg(feature = "serve")]
mod stderr;
// A few looks for each snapshot.
#[allow(clippy::disallowed_methods)]
#[cfg(feature = "status")]
pub mod status;
mod sync;
mod text;
// Its deadline is as exact as the timer that it arms.
#[allow(clippy::disallowed_methods)]
pub mod timeout;
pub mod track;

#[cfg(feature = "tracing")]
pub use access_log::AccessLogLayer;
pub use allowed_hosts::AllowedHosts;
pub use body_limit::BodyLimitLayer;
pub use catch_panic::CatchPanicLayer;
pub use conn_info::{ClientIp, ClientIpSource, ConnInfo};
pub use drain::DrainLayer;
pub use error::BoxError;
pub use health::{Health, HealthLayer};
pub use in_flight::InFlightLayer;
#[cfg(feature = "metrics")]
pub use metrics::{Metrics, MetricsLayer};
pub use per_route::{RouteLayer, route};
pub use phase::{Lifecycle, Phase};
#[cfg(feature = "rate-limit")]
pub use rate_limit::RateLimitLayer;
pub use real_ip::RealIpLayer;
pub use request_id::RequestIdLayer;
#[cfg(feature = "serve")]
pub use serve::{
    Http2Limits, Limits, MinRate, Protocols, Timeouts, serve, serve_connection_with_timeouts,
    serve_with_timeouts,
};
#[cfg(feature = "serve")]
pub use server::Server;
#[cfg(feature = "serve")]
pub use shutdown::{Report, Shutdown};
pub use stack::{Stack, stack};
#[cfg(feature = "status")]
pub use status::StatusPage;
pub use timeout::TimeoutLayer;

/// The README, included so that its examples are compiled as doc tests.
#[cfg(all(doctest, feature = "serve", feature = "rate-limit"))]
#[doc = include_str!("../README.md")]
struct Readme;
