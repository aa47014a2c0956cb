//! Answers for a handler that panics: 500, for gRPC INTERNAL.
//!
//! Without this layer a panic ends the connection of an HTTP/1 client, and the stream of an HTTP/2 one: the client has
//! no answer. The panic hook has printed the panic; [`Event::Panicked`](crate::events::Event::Panicked) names the
//! request with its route.
//!
//! It belongs innermost, right around the service, so that all other layers see the answer; [`stack`](mod@crate::stack)
//! has it there. A panic in the response's body is not caught: the answer has begun, and the server breaks it off.
//! With `panic = "abort"` nothing is caught.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use lameduck::CatchPanicLayer;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new().layer(CatchPanicLayer::new()).service(service_fn(
//!     |request: Request<()>| async move {
//!         assert_ne!(request.uri().path(), "/panic");
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//!     },
//! ));
//! let ask = |path: &str| service.clone().oneshot(Request::get(path).body(()).unwrap());
//! assert_eq!(ask("/panic").await.unwrap().status(), 500);
//! assert_eq!(ask("/").await.unwrap().status(), 200);
//! # }
//! ```

mod future;
mod layer;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use future::CatchPanicFuture;
pub use layer::CatchPanicLayer;
pub use service::CatchPanic;
