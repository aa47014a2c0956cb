//! A limit for the size of request bodies; the client can read its 413.
//!
//! * A request whose `Content-Length` is over the limit is answered with 413 before the handler is called (RFC 9110,
//!   15.5.14); a gRPC call with RESOURCE_EXHAUSTED, Trailers-Only (see [`reply`](crate::reply)). A client that waits
//!   for `100 Continue` gets the 413 instead of it. This allocates nothing. In a process where a
//!   [`route()`](crate::route()) has a larger limit, a request up to that is passed to its route first: a handler without
//!   a limit of its own may begin, reads none of the body, and the client gets the 413 in place of its answer.
//! * Every other body is a [`BodyLimitBody`]: it passes on the bytes within the limit, exactly, then yields
//!   `http_body_util::LengthLimitError` and reads no further. axum's extractors know that error and answer 413
//!   themselves. Other code checks [`is_too_large`].
//! * If a handler received this error and still gives another response (a 500, or a 200 because it ignored the error),
//!   or its service fails, the client gets the 413 instead. A 413 of the handler's own is left as it is, except to a
//!   gRPC client, which would not understand it.
//!
//! The layer has limits of its own: once the handler has given its response's head, the client has it. A handler that
//! answers first and reads later sees the error, and the layer can do nothing more; the handler should end its response
//! body with an error. A handler that stops reading within the limit has its own response sent: the length of the rest
//! is unknown.
//!
//! A stream of messages, as gRPC clients may send, is one body: the limit applies to all of them together. Switch it
//! off for a route that accepts an endless one, by [`RouteBodyLimit::off`].
//!
//! The limit applies to the bytes that arrive. This layer belongs outside of the one that decompresses: it then
//! measures the compressed body, and the other needs a limit of its own. axum's own default limit of 2 MB
//! (`DefaultBodyLimit`) is inside this one and stays in force.
//!
//! # Cost
//!
//! A request with a body of known length, refused or passed, costs no allocation: its bytes are still counted, so that
//! a body longer than declared is cut too. A body of unknown length (chunked, or an HTTP/2 request without
//! `Content-Length`, as gRPC calls are) costs one small allocation, a flag that reports to the response that the body
//! ran over.
//!
//! # Another limit for one route
//!
//! An outer layer puts a [`RouteBodyLimit`] into the request's extensions, or [`BodyLimitLayer::per_request`] sets a
//! function for each request, which takes precedence.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use lameduck::BodyLimitLayer;
//! use lameduck::body_limit::{BodyLimitBody, RouteBodyLimit};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(BodyLimitLayer::new(4).per_request(|head| {
//!         let upload = head.uri.path().starts_with("/upload/");
//!         upload.then_some(RouteBodyLimit::bytes(1024))
//!     }))
//!     .service(service_fn(|request: Request<BodyLimitBody<Full<Bytes>>>| async {
//!         let body = request.into_body().collect().await.map(|body| body.to_bytes());
//!         Ok::<_, Infallible>(Response::new(Full::from(body.unwrap_or_default())))
//!     }));
//!
//! let put = |path: &str| Request::put(path).body(Full::from("hello")).unwrap();
//! let answer = service.clone().oneshot(put("/")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
//!
//! let answer = service.oneshot(put("/upload/1")).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//! # }
//! ```

mod admit;
mod body;
mod error;
mod future;
mod layer;
mod route;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub(crate) use admit::{Admission, admit, expect_route_limit};
pub use body::BodyLimitBody;
pub use error::is_too_large;
pub use future::BodyLimitFuture;
pub(crate) use future::Watch;
pub use layer::BodyLimitLayer;
pub use route::RouteBodyLimit;
pub use service::BodyLimit;
