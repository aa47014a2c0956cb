//! Counts requests from their arrival to the end of their response body, and can name them.
//!
//! The [`InFlightHandle`] reads what the layer counts: how many are running, the most there were at
//! once, a future that is ready when nothing is running, and a list of what is: method, path or
//! matched route, age, peer.
//!
//! A request is in flight until its response body has been read to its end, has failed, or has been
//! dropped; a handler that is cancelled ends with its future. Nothing has to be called: the guard is
//! a drop guard.
//!
//! The path named is the request's; with feature `axum` the matched route (`/users/{id}`) is named
//! too, when the layer was added by `Router::layer`. The peer is that of
//! [`ConnInfo`](crate::ConnInfo), which [`serve`](crate::serve()) puts into every request.
//!
//! What a layer cannot see is the socket: the last bytes of a body may still wait to be written when
//! its guard ends. [`serve`](crate::serve()) counts to the last byte; use its report for the drain, and
//! this layer for gauges and for other servers.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use lameduck::InFlightLayer;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let layer = InFlightLayer::new();
//! let in_flight = layer.handle();
//! let service = ServiceBuilder::new().layer(layer).service(service_fn(|_: Request<()>| async {
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//! }));
//!
//! let answer = service.oneshot(Request::get("/hello").body(()).unwrap()).await.unwrap();
//! assert_eq!(in_flight.count(), 1, "the body has not been read");
//! assert_eq!(in_flight.requests()[0].path, "/hello");
//! answer.into_body().collect().await.unwrap();
//! in_flight.wait_idle().await;
//! assert_eq!((in_flight.count(), in_flight.peak()), (0, 1));
//! # }
//! ```

mod future;
mod handle;
mod layer;
mod registry;
mod service;
#[cfg(test)]
mod tests;

pub use future::InFlightFuture;
pub use handle::{InFlightHandle, InFlightRequest};
pub use layer::InFlightLayer;
pub use service::InFlight;

/// The response body of an [`InFlight`] service: its end is the request's end.
pub type InFlightBody<B> = crate::track::TrackedBody<B, Option<registry::InFlightGuard>>;
