//! All layers at once, in their proper order.
//!
//! | from the outside in | default of [`stack`] | reason for the position |
//! |---|---|---|
//! | [`HealthLayer`](crate::HealthLayer) | off | no other layer sees a probe |
//! | `MetricsLayer` | off | refusals further in are measured too |
//! | [`RequestIdLayer`](crate::RequestIdLayer) | off | every line and event of a request has its id |
//! | [`RealIpLayer`](crate::RealIpLayer) | trusts no proxy: the peer is the client | the log names the client, and the limit counts by it |
//! | `AccessLogLayer` | off | refusals further in have a line too |
//! | [`InFlightLayer`](crate::InFlightLayer) | counts | refusals further in are counted while they are being answered |
//! | [`DrainLayer`](crate::DrainLayer) | refuses from the drain on | no work is spent on a request that must go elsewhere |
//! | `RateLimitLayer` | off | a refused request costs neither a body nor a timer |
//! | [`BodyLimitLayer`](crate::BodyLimitLayer) | 2 MiB, as axum has it; gRPC calls are not limited | a body that is too large never reaches the service |
//! | [`TimeoutLayer`](crate::TimeoutLayer) | 10 s to the head of the response | measures the service alone |
//! | [`CatchPanicLayer`](crate::CatchPanicLayer) | answers | the response to a panic is one like any other |
//!
//! The order of the calls does not matter: each layer has its position in the table. A layer that is off does nothing.
//!
//! The default body limit leaves gRPC calls alone, because it counts all messages of a stream together; a gRPC library
//! has a limit for each message (tonic's is 4 MiB). A limit that is [set](Stack::body_limit) holds for them as well.
//! gRPC is recognised by the method and the content type, which any client can send: a handler that collects raw bodies
//! itself, without an extractor that limits them, needs a limit that is set.
//!
//! The rate limit is off until it is given a quota (feature `rate-limit`): the right quota depends on your service, and
//! until trusted proxies are configured, all clients behind a proxy share one quota.
//!
//! A service that is not ready (one with tower's `ConcurrencyLimit`, all of whose permits are taken) delays a request
//! before any layer has seen it: it is not counted, not refused and not timed until then. A handler that waits for a
//! `tokio::sync::Semaphore` of its own is covered by all of them.
//!
//! CORS (`CorsLayer` of tower-http) belongs directly outside the stack (`Server::outer_layers`): a preflight is then
//! answered before it counts against the rate limit, and a refusal has the headers without which a page may not read
//! its status.
//!
//! Each layer is replaced by another of its kind, and switched off by its `off()`.
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
//! `tonic::transport::Server::builder().layer(stack)` and `tower::ServiceBuilder::new().layer(stack)` take it as well;
//! examples/stack_*.rs show one of each. `Server` has one of its own.

mod body;
mod builder;
mod future;
mod inner;
mod passage;
mod service;
#[cfg(test)]
mod tests;

pub use body::StackBody;
#[cfg(feature = "serve")]
pub(crate) use builder::{BODY_LIMIT, TIMEOUT};
pub use builder::{Stack, stack};
pub use future::StackFuture;
pub use service::Stacked;
