//! A layer that refuses new requests while the process drains, in the form that makes a client go elsewhere.
//!
//! From [`Phase::Draining`](crate::Phase::Draining) on, the layer responds with 503, `Retry-After`, and below HTTP/2
//! `Connection: close`; to a gRPC call with UNAVAILABLE, Trailers-Only (see [`reply`](crate::reply)). Requests in
//! flight are not affected. The lame-duck phase still serves requests: a load balancer needs time to see that the
//! instance is leaving, and until then a 503 is an outage.
//!
//! On [`serve`](mod@crate::serve) a request is still served if its client could not know of the drain: its head began
//! before the drain, or it is the first request on its connection, or (HTTP/1) the previous response ended in the
//! lame-duck phase or later but began too early to announce the close. HTTP/1 connections close with that response. The
//! server marks such requests in their extensions, and therefore cannot if it runs
//! [`without_extensions`](crate::serve::Serve::without_extensions).
//!
//! Every request that passes carries a [`Draining`] in its extensions, so that a handler that would run forever
//! (server-sent events, a websocket) can end when the drain begins.
//!
//! Place health and metrics routes outside this layer, or exempt them with a predicate.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use bytes::Bytes;
//! use lameduck::{DrainLayer, Lifecycle, Phase};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let lifecycle = Lifecycle::new();
//! let service = ServiceBuilder::new()
//!     .layer(
//!         DrainLayer::new(&lifecycle)
//!             .retry_after(Duration::from_secs(3))
//!             .exempt(|head| head.uri.path() == "/healthz"),
//!     )
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//!     }));
//!
//! let get = |path: &str| Request::get(path).body(()).unwrap();
//! let answer = service.clone().oneshot(get("/")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! lifecycle.advance(Phase::Draining);
//! let answer = service.clone().oneshot(get("/")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(answer.headers()["retry-after"], "3");
//! assert_eq!(answer.headers()["connection"], "close");
//!
//! let answer = service.oneshot(get("/healthz")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//! # }
//! ```

mod extension;
mod layer;
mod service;
mod shared;
#[cfg(test)]
mod tests;

/// The response future of a [`Drain`] service.
pub use crate::reply::ReplyFuture as DrainFuture;
pub use extension::Draining;
pub use layer::DrainLayer;
pub use service::Drain;
