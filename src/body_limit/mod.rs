//! Limits the size of a request's body, and answers 413 so that it can be read.
//!
//! * A request that says by its `Content-Length` that it is over the limit is answered with 413 before
//!   the handler is called (RFC 9110, 15.5.14); a gRPC call with RESOURCE_EXHAUSTED, Trailers-Only (see
//!   [`reply`](crate::reply)). A client that waits for `100 Continue` gets the 413 instead of it. This
//!   allocates nothing.
//! * Every other body is a [`BodyLimitBody`]: it hands on what is within the limit, to the byte, then
//!   yields [`http_body_util::LengthLimitError`] and reads no further. That is the error which axum's
//!   extractors know: they answer 413 themselves. Others ask [`is_too_large`].
//! * A handler that was given this error and answers something else all the same (a 500, or a 200 because
//!   it did not look), or whose service fails, is answered for: the client gets the 413. A 413 of the
//!   handler's own is left as it is, except to a gRPC client, who would not understand it.
//!
//! What cannot be done: once the handler has given its response's head, the client has it. A handler that
//! answers first and reads then sees the error, and the layer can do nothing more; it should end its
//! response body with an error. And a handler that stops reading within the limit has its own answer sent:
//! nobody knows how much was still to come.
//!
//! A stream of messages, as gRPC clients may send, is one body: the limit is of all of them together. A
//! route that takes one without an end is to be switched off, by [`RouteBodyLimit::off`].
//!
//! The limit is of the bytes that arrive: a compressed body is measured before it is unpacked when this
//! layer is outside of the one that unpacks, as it should be; that one needs a limit of its own. axum's
//! own default limit of 2 MB (`DefaultBodyLimit`) is inside of this one and stays in force.
//!
//! # What it costs
//!
//! Nothing of the heap for a request whose body's length is known, refused or passed: its bytes are still
//! counted, so that a body that lies is cut too. A body of unknown length (chunked, or an HTTP/2 request
//! without `Content-Length`, as gRPC calls are) costs one small allocation, a flag by which the answer
//! learns that the body ran over.
//!
//! # Another limit for one route
//!
//! An outer layer puts a [`RouteBodyLimit`] into the request's extensions, or the layer is asked for each
//! request by [`BodyLimitLayer::per_request`], which wins.
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
