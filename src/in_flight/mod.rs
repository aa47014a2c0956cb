//! A layer that counts requests from their arrival to the end of their response body, and can name them.
//!
//! The [`InFlightHandle`] reads the counts: the number of requests in flight, its peak, a future that completes when no
//! request is in flight, or few enough, and a list of the requests with method, path or matched route, age and peer.
//!
//! A request is in flight until its response body has been read to its end, has failed, or has been dropped; a
//! cancelled handler ends with its future. The application calls nothing: a drop guard does the work.
//!
//! The path is the request's; with feature `axum` the matched route (`/users/{id}`) is listed too, if the layer was
//! added by `Router::layer`. The peer comes from [`ConnInfo`](crate::ConnInfo), which [`serve`](crate::serve()) puts
//! into every request.
//!
//! A layer cannot see the socket: the last bytes of a body may still wait to be sent when its guard ends.
//! [`serve`](crate::serve()) counts to the last byte. Use its report for the drain, and this layer for gauges and for
//! other servers.
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
pub(crate) use registry::InFlightGuard;
pub use service::InFlight;

/// The response body of an [`InFlight`] service. The end of the body is the end of the request.
pub type InFlightBody<B> = crate::track::TrackedBody<B, Option<registry::InFlightGuard>>;
