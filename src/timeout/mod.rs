//! A time limit for requests.
//!
//! The time runs from the call of the service to the head of the response; with
//! [`whole_response`](TimeoutLayer::whole_response) to the end of its body. When it is over the handler is dropped, and
//! then the request is answered with 503 (504 by [`gateway`](TimeoutLayer::gateway)), a gRPC call with
//! DEADLINE_EXCEEDED, Trailers-Only (see [`reply`](crate::reply)). The connection stays as it was.
//!
//! * The handler goes first: a response that is ready is never thrown away, even if it is late. A timer is made only
//!   when the handler has to wait.
//! * The request gets at most one response: work that a dropped handler had begun elsewhere goes on. A handler that
//!   blocks its thread cannot be dropped.
//! * The request's body counts: a handler that waits for a slow upload is out of time like any other. The server's own
//!   deadlines ([`serve`](mod@crate::serve)) are about slow peers, these are about slow handlers.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use lameduck::TimeoutLayer;
//! use lameduck::timeout::RouteTimeout;
//! use std::{convert::Infallible, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(
//!         TimeoutLayer::new(Duration::from_millis(20)).per_request(|head| {
//!             // With axum: head.extensions.get::<axum::extract::MatchedPath>()
//!             head.uri.path().starts_with("/reports/").then(|| RouteTimeout::after(Duration::from_secs(60)))
//!         }),
//!     )
//!     .service(service_fn(|_: Request<()>| async {
//!         tokio::time::sleep(Duration::from_millis(100)).await;
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
//!     }));
//!
//! let get = |path: &str| Request::get(path).body(()).unwrap();
//! let answer = service.clone().oneshot(get("/")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
//! let answer = service.oneshot(get("/reports/2024")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//! # }
//! ```
//!
//! # The time in force
//!
//! 1. The time that the function of [`per_request`](TimeoutLayer::per_request) returns, if any;
//! 2. otherwise the [`RouteTimeout`] in the request's extensions, which a layer further out has set;
//! 3. otherwise the layer's own.
//!
//! A gRPC client's `grpc-timeout` makes it shorter, never longer, and is in force for a route that is switched off too,
//! because the caller will not wait longer, unless the layer is
//! [`without_grpc_timeout`](TimeoutLayer::without_grpc_timeout). It is 1 to 8 digits and a unit (the gRPC over HTTP/2
//! specification, "Timeout"); 0 is over at once. One that is malformed, or not alone, is ignored and emitted as
//! [`Event::MalformedGrpcTimeout`](crate::events::Event::MalformedGrpcTimeout). In a request that is not gRPC it has no
//! meaning.
//!
//! # To the end of the body
//!
//! With [`whole_response`](TimeoutLayer::whole_response) the same time goes on in the body. When it is over the inner
//! body is dropped at once and
//! * a gRPC response ends with trailers, `grpc-status: 4`, as the client expects it;
//! * any other body yields a [`TimeoutError`]: the head is sent, so the server cuts the connection (HTTP/2: the
//!   stream), and the client sees that the body is incomplete.
//!
//! Frames that are ready win, so a body that never has to wait is never cut here. Neither is one that is not polled for
//! its next frame: the server's deadlines handle a client that does not read.
//!
//! # Position
//!
//! Innermost, next to the handlers: the drain, the limits and other layers that refuse at once need no time. Around a
//! whole axum `Router` a `MatchedPath` is not known yet; added by `Router::layer` it is.
//!
//! # Without tokio
//!
//! The timer is tokio's, and is made when the handler has to wait: then it needs a tokio runtime with its time driver
//! enabled, and tokio panics if there is none. A response that is ready at once, a request without a deadline and a
//! layer that is [`off`](TimeoutLayer::off) need no runtime.

mod body;
mod error;
mod future;
mod grpc;
mod layer;
mod route;
mod service;
mod shared;
mod terms;
#[cfg(test)]
mod tests;

pub use body::TimeoutBody;
pub use error::TimeoutError;
pub use future::TimeoutFuture;
pub use layer::TimeoutLayer;
pub use route::RouteTimeout;
pub use service::Timeout;
pub(crate) use terms::Terms;
