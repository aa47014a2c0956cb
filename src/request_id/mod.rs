//! A layer that gives each request an id, which links a client's complaint, the logs and the services behind.
//!
//! The layer keeps a valid incoming id or generates one. Handlers find it in the request's extensions
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
//! # Incoming and generated ids
//!
//! An incoming id is kept if the header occurs exactly once, with 1 to 128 bytes, all of them letters, digits or one of
//! `- . _ ~ + / = :`. This alphabet covers UUIDs, ULIDs, hexadecimal and both forms of base64. It has no spaces, quotes
//! or control characters, so an id cannot break out of a log line, and no separators of lists or shells. Anyone can
//! send an id: it is a name, not a proof, and two requests may have the same. [`trust(false)`](RequestIdLayer::trust)
//! keeps none, for a service that clients reach directly.
//!
//! Otherwise the layer generates one: 128 random bits in 32 hexadecimal digits, from the standard library's keyed hash
//! (SipHash, with keys from the operating system) of a counter. Generated ids do not repeat and do not reveal their
//! number, but they are not secret: do not use them as tokens.
//!
//! # Where the id appears
//!
//! * In the request's extensions, always.
//! * In the request's header, if an incoming id was not kept: it is replaced, so that no inner layer believes it. If
//!   none came in, none is added.
//! * In the response's header, including refusals of inner layers. There is exactly one: an id set by the handler is
//!   replaced, because the client must have the id that the logs have.
//!
//! The layer belongs outermost, so that everything further in can name the request.
//!
//! # Cost
//!
//! The layer makes one allocation for the extension, and one more for a generated id; a kept id is shared with the
//! request's head. The response's header map may have to grow by one entry. There is no lock.

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
pub use service::RequestIdService;

pub(crate) use shared::{ResponseId, show};
