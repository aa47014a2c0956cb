//! Settings of one route, at the place of the route.
//!
//! The layers around a whole service have one time and one size for all of it. A route that needs others has a layer
//! of its own, [`route()`], further in:
//!
//! | route | setting |
//! |---|---|
//! | an upload | `route().body_limit(100 << 20).timeout(Duration::from_secs(60))` |
//! | a long poll, a slow report | `route().timeout(Duration::from_secs(120))`, or `timeout(None)` |
//! | server-sent events, a gRPC stream, an endless download | `route().streaming()` |
//!
//! It works at the place where a route is defined: on an axum `MethodRouter` or nested `Router`, around one tonic
//! service, and, with [`when`](RouteLayer::when), by a predicate around several. The layers further out,
//! [`TimeoutLayer`](crate::TimeoutLayer), [`BodyLimitLayer`](crate::BodyLimitLayer) and those of
//! [`stack()`](crate::stack()), yield to the route's settings, larger or smaller. On
//! [`serve`](mod@crate::serve) the connection's own deadlines follow. On any other server, and in a test that calls
//! the service by `oneshot`, it does the same without them.
//!
//! With axum:
//!
//! ```
//! use axum::Router;
//! use axum::routing::{get, post};
//! use std::time::Duration;
//! # async fn events() {}
//! # async fn upload() {}
//!
//! let app: Router = Router::new()
//!     .route("/events", get(events).layer(lameduck::route().streaming()))
//!     .route(
//!         "/upload",
//!         post(upload).layer(lameduck::route().body_limit(100 << 20).timeout(Duration::from_secs(60))),
//!     );
//! ```
//!
//! By a predicate, around any service:
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use std::{convert::Infallible, time::Duration};
//! # use tower::{ServiceBuilder, service_fn};
//! use lameduck::{TimeoutLayer, route};
//!
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .layer(route().timeout(Duration::from_secs(120)).when(|head| head.uri.path().starts_with("/reports/")))
//! # .service(service_fn(|_: Request<lameduck::body_limit::BodyLimitBody<Full<Bytes>>>| async {
//! #     Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
//! # }));
//! # let _ = service;
//! ```
//!
//! With tonic, around one service, for one of its methods:
//!
//! ```
//! # #[cfg(feature = "tonic")]
//! # fn routes<S: tonic_health::pb::health_server::Health>(tally: S) -> tonic::service::Routes {
//! # use tonic_health::pb::health_server::HealthServer as TallyServer;
//! let upload = lameduck::route()
//!     .timeout(None) // a stream of the client's may take longer to be answered than `stack` and `Server` allow
//!     .when(|head| head.uri.path() == "/shop.Tally/Upload");
//! let tally = tower::ServiceBuilder::new().layer(upload).service(TallyServer::new(tally));
//! tonic::service::Routes::new(tally)
//! # }
//! ```
//!
//! # Streams
//!
//! A [`streaming`](RouteLayer::streaming) response has no total time, and ends by itself when the process leaves: at a
//! random moment of the first three quarters of the lame duck, so that not all clients reconnect at once. A gRPC stream
//! ends with UNAVAILABLE, which clients retry; every other body ends at the end of a frame. A body of known length is
//! not ended: it has an end of its own, and the drain waits for it. A websocket is not a body: its handler watches
//! [`Draining`](crate::drain::Draining).
//!
//! # Cost
//!
//! Nothing in a process without such a route. Otherwise: one allocation for a streaming response, and on a server other
//! than [`serve`](mod@crate::serve) an extension in each request that the layers further out may limit.

mod body;
mod future;
mod layer;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use body::RouteBody;
pub use future::RouteFuture;
pub use layer::{RouteLayer, route};
pub use service::RouteService;
