//! Gives each request an id, by which a client's complaint, the logs and the services behind are joined.
//!
//! The id that came in is kept, or one is made; handlers find it in the request's extensions
//! ([`RequestId::of`], with feature `axum` also as an extractor), the client in the response's header.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use lameduck::{RequestIdLayer, request_id::RequestId};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new().layer(RequestIdLayer::new()).service(service_fn(
//!     |request: Request<()>| async move {
//!         let id = RequestId::of(request.extensions()).unwrap();
//!         println!("asked as {id}");
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//!     },
//! ));
//!
//! let request = Request::get("/").header("x-request-id", "from-the-proxy-7").body(()).unwrap();
//! let answer = service.clone().oneshot(request).await.unwrap();
//! assert_eq!(answer.headers()["x-request-id"], "from-the-proxy-7");
//!
//! let answer = service.oneshot(Request::get("/").body(()).unwrap()).await.unwrap();
//! assert_eq!(answer.headers()["x-request-id"].len(), 32);
//! # }
//! ```
//!
//! # What is kept, and what is made
//!
//! An id is kept if the header came exactly once, with 1 to 128 bytes, all of them letters, digits or one
//! of `- . _ ~ + / = :`, which is what UUIDs, ULIDs, hexadecimal and both base64 are written with. There are no
//! spaces, quotes or control characters, so an id cannot break out of a log line, and no separators of lists or
//! shells. Anybody can send one: an id is a name, not a proof, and two requests may have the same.
//! [`trust(false)`](RequestIdLayer::trust) keeps none, for a service that clients reach directly.
//!
//! Otherwise one is made: 128 random bits in 32 hexadecimal digits, by the standard library's keyed hash
//! (SipHash, with keys from the operating system) of a counter. They do not repeat and do not tell how many
//! there were, but they are no secret: do not use them as tokens.
//!
//! # Where it is told
//!
//! * In the request's extensions, always.
//! * In the request's header, if one came that was not kept: it is replaced, so that nobody further in believes
//!   it. Where none came, none is added.
//! * In the response's header, whoever answers: refusals of the layers further in have it too. There is
//!   exactly one: what the handler set itself is replaced, for the client must have the id that the logs have.
//!
//! It stands outermost, so that all that is further in can name the request.
//!
//! # Cost
//!
//! One allocation for the extension, one more for an id that is made; an id that is kept is shared with the
//! request's head. The response's header map may have to grow by one. No lock.

#[cfg(feature = "axum")]
mod extract;
mod future;
mod layer;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use crate::id::RequestId;
pub use future::RequestIdFuture;
pub use layer::RequestIdLayer;
pub use service::SetRequestId;
