//! A layer that limits the requests of each client.
//!
//! A request over the quota gets 429 with `Retry-After` (gRPC: RESOURCE_EXHAUSTED with `grpc-retry-pushback-ms`; see
//! [`reply`](crate::reply)). A client that returns after that time is admitted. The quota is refilled evenly (GCRA), so
//! there is no burst at a window boundary.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use lameduck::RateLimitLayer;
//! use lameduck::rate_limit::{Fields, Quota};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limit = RateLimitLayer::new([Quota::per_hour(6).burst(2), Quota::per_day(100)])?
//!     .exempt(|head| head.uri.path() == "/healthz")
//!     .fields(Fields::RateLimit);
//! let service = ServiceBuilder::new().layer(limit).service(service_fn(
//!     |_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) },
//! ));
//!
//! let get = |path: &str| service.clone().oneshot(Request::get(path).body(()).unwrap());
//! let answer = get("/").await?;
//! assert_eq!(answer.headers()["ratelimit"], "\"6/h burst 2\";r=1;t=600");
//! get("/").await?;
//! let answer = get("/").await?;
//! assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(answer.headers()["retry-after"], "600");
//! assert_eq!(get("/healthz").await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//!
//! By default the key is the client's address: as found by [`real_ip`](crate::real_ip), else the socket's peer. Behind
//! a proxy that layer must be further out, or all clients count as the proxy. IPv6 is counted by /64. Requests without
//! a known address (on a Unix socket, or on a server that provides none) share [`Key::UNKNOWN`] and therefore one
//! quota. A header or a function of the request can be the key instead.
//!
//! # Memory
//!
//! At most [`max_keys`](RateLimitLayer::max_keys) keys are tracked. A key takes less than 100 bytes with one quota and
//! 8 more for each further one: 7 MB for the default of 100,000. The memory is allocated as keys arrive, and is not
//! released.
//!
//! A key whose quotas are full again carries no information: such keys are dropped a few at a time as new ones arrive,
//! without loss and without a background task. Only if all keys still count does [`WhenFull`] decide, which is reported
//! ([`Event::RateLimitFull`](crate::events::Event::RateLimitFull)) and counted ([`RateLimitHandle::forgotten`]).
//!
//! From 2,048 keys on, the table is divided into shards of at least 1,024 keys by a randomly seeded hash. The total is
//! never exceeded, but one shard may be full when nine tenths of the total are in use: set `max_keys` a tenth above the
//! number of keys that must count at once.
//!
//! If several instances serve the same clients, each admits the whole quota. With feature `redis`,
//! `RateLimitLayer::redis` shares one count between them.
//!
//! # Cost
//!
//! Admission and refusal take the same work: one look-up in the table under a shard's lock, and one clock reading;
//! about 0.15 µs. A refusal saves the service's work and writes the response instead, for 0.06 to 0.1 µs more. Neither
//! allocates (with [`Fields::None`]); only a new key may grow a shard's table.

#[allow(clippy::disallowed_methods)] // the clock itself
mod clock;
mod decision;
mod fields;
mod future;
mod handle;
mod key;
mod layer;
mod limits;
#[cfg(test)]
mod properties;
mod quota;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod service;
mod shard;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod when_full;

pub use fields::Fields;
pub use future::RateLimitFuture;
pub use handle::RateLimitHandle;
pub use key::Key;
pub use layer::RateLimitLayer;
pub use quota::{InvalidQuota, Quota};
pub use service::RateLimit;
pub use when_full::WhenFull;
