//! Limits how many requests a client may make.
//!
//! A request over the quota gets 429 with `Retry-After` (gRPC: RESOURCE_EXHAUSTED with
//! `grpc-retry-pushback-ms`; see [`reply`](crate::reply)), and who comes back when that says is admitted. The
//! quota is refilled evenly (GCRA): no burst at the turn of a window.
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
//! # Who is counted together
//!
//! By default a client's address: what [`real_ip`](crate::real_ip) found, else the socket's peer. Behind a
//! proxy that layer has to stand further out, or all clients are the proxy. IPv6 is counted by /64. Requests
//! of whom no address is known (a Unix socket, a server that tells none) share [`Key::UNKNOWN`] and so one
//! quota. A header or a function of the request may say otherwise.
//!
//! # Memory
//!
//! At most [`max_keys`](RateLimitLayer::max_keys) keys are kept. A key takes less than 100 bytes with one quota
//! and 8 more for each further one: 7 MB for the default of 100,000. It is taken as keys come, and kept.
//!
//! A key whose quotas are full again is as if it had never come: such keys are forgotten a few at a time as
//! new ones come, without loss and without a background task. Only when all keys still count does
//! [`WhenFull`] decide, and that is told ([`Event::RateLimitFull`](crate::events::Event::RateLimitFull)) and
//! counted ([`RateLimitHandle::forgotten`]). From 2,048 keys on the table is divided into shards of at least
//! 1,024 keys, by a hash that is seeded at random: the total is never exceeded, but one shard may be full when
//! nine tenths of the total are used. So let `max_keys` be a tenth larger than the keys that are to count at
//! once.
//!
//! Where several instances serve the same clients, each lets the quota pass once. With feature `redis`
//! `RateLimitLayer::redis` shares one count between them.
//!
//! # Costs
//!
//! To pass and to refuse is decided by the same work: one look into the table under the lock of a shard, and
//! one reading of the clock; some 0.15 µs. A refusal spares the service and writes the answer instead, for
//! 0.06 to 0.1 µs more. Neither allocates (with [`Fields::None`]); only a new key may make a shard's table
//! grow.

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
