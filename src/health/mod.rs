//! Liveness, readiness and start-up: what an orchestrator asks of a process, over HTTP and gRPC.
//!
//! Three questions that must not be mixed:
//!
//! | question | route | 200 | 503 | on failure the orchestrator |
//! |---|---|---|---|---|
//! | shall this process live? | `/healthz` | always | never | kills it |
//! | shall it get traffic? | `/readyz` | in [`Phase::Ready`] while no required check fails | else, from the first moment of [`Phase::LameDuck`] | sends traffic elsewhere |
//! | has it started? | `/startupz` | [`Phase::Ready`] has been reached, for ever after | before | waits, then kills it |
//!
//! Liveness looks at nothing: a database that is down is no reason to kill every instance that waits for
//! it, and a drain is none to kill the one that drains. A readiness check is for what one instance can
//! lose alone (its warm-up, its disk, its pool). What all instances share takes all of them out at once,
//! and turns a slow database into an outage: make that an [optional check](Health::optional_check).
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use lameduck::health::{Details, Health};
//! use lameduck::{Lifecycle, Phase};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let lifecycle = Lifecycle::new();
//! let health = Health::new(&lifecycle)
//!     .version("1.2.3")
//!     .check("disk", || async { std::fs::metadata("/").map(|_| ()) })
//!     .optional_check("cache", || async { Err("connection refused") })
//!     .details(Details::always());
//! let service = ServiceBuilder::new()
//!     .layer(health.layer())
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//!     }));
//!
//! let get = |path: &str| service.clone().oneshot(Request::get(path).body(()).unwrap());
//! assert_eq!(get("/readyz").await.unwrap().status(), 503); // starting
//!
//! lifecycle.advance(Phase::Ready);
//! let ready = get("/readyz").await.unwrap();
//! assert_eq!(ready.status(), 200);
//! let json = ready.into_body().collect().await.unwrap().to_bytes();
//! let json = String::from_utf8(json.to_vec()).unwrap();
//! assert!(json.starts_with(r#"{"status":"warn","phase":"ready","version":"1.2.3","#), "{json}");
//! assert!(json.contains(r#""error":"connection refused""#), "{json}");
//!
//! lifecycle.advance(Phase::LameDuck);
//! assert_eq!(get("/readyz").await.unwrap().status(), 503);
//! assert_eq!(get("/healthz").await.unwrap().status(), 200);
//! assert_eq!(get("/").await.unwrap().status(), 200); // the service's own
//! # }
//! ```
//!
//! # The checks
//!
//! * They run only when a probe asks, only in [`Phase::Ready`], all at once, each with a
//!   [deadline](Health::deadline), and as a task of their own: a probe that goes away does not end the run
//!   that it began.
//! * There is one run at a time, and its results are good for a [while](Health::cache). However many
//!   probes ask, a check runs at most once in that while.
//! * A check that panics has failed, and one that is past its deadline has failed and is dropped. One that
//!   blocks its thread cannot be dropped: it is not started again before it has come back.
//! * Readiness stops waiting for them the moment the process begins to leave.
//!
//! # The answers
//!
//! GET and HEAD; other methods get a 405. `Cache-Control: no-store`. The content type is
//! `application/json`; the words `pass`, `warn` and `fail` are those of draft-inadarei-api-health-check,
//! its nested form (`application/health+json`) is not used. Who may see the [`Details`], by default a peer
//! on the loopback, gets
//!
//! ```json
//! {"status":"fail","phase":"ready","version":"1.2.3","uptime_seconds":86400,"age_ms":312,
//!  "components":[
//!   {"name":"disk","status":"pass","optional":false,"duration_ms":1},
//!   {"name":"cache","status":"warn","optional":true,"duration_ms":2000,"error":"not within 2s"}]}
//! ```
//!
//! and everybody else `status` (without `warn`) and `phase`, from static bytes. `age_ms` is how long ago
//! the checks ended; outside of [`Phase::Ready`] they are those of the last run, or `unknown`.
//!
//! # Who asks
//!
//! * [`Health::layer`] answers on the service's own port, in front of everything else;
//!   [`Health::liveness`], [`Health::readiness`] and [`Health::startup`] are services, for a router or for a
//!   port of their own.
//! * [`probe`] is the other end, for a container's `HEALTHCHECK`.
//! * `Health::grpc` (feature `tonic`) is the gRPC health protocol, whose watches end at the drain.
//!
//! [`Phase::Ready`]: crate::Phase::Ready
//! [`Phase::LameDuck`]: crate::Phase::LameDuck

mod answer;
mod check;
mod details;
mod future;
#[cfg(feature = "tonic")]
mod grpc;
mod handle;
mod json;
mod layer;
mod probe;
mod report;
mod runner;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use answer::HealthAnswer;
pub use details::Details;
pub use future::HealthFuture;
#[cfg(feature = "tonic")]
pub use grpc::{GrpcHealth, WatchStream};
pub use handle::Health;
pub use layer::HealthLayer;
pub use probe::{ProbeError, probe, probe_within};
pub use report::{Component, HealthReport, Status};
pub use service::{HealthRoutes, HealthService};
