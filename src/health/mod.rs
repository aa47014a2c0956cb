//! Liveness, readiness and start-up probes for an orchestrator, over HTTP and gRPC.
//!
//! They answer three questions that must not be mixed:
//!
//! | question | route | 200 | 503 | reaction of the orchestrator to 503 |
//! |---|---|---|---|---|
//! | should this process live? | `/healthz` | always | never | kills it |
//! | should it receive traffic? | `/readyz` | in [`Phase::Ready`] while no required check fails | else, from the first moment of [`Phase::LameDuck`] | sends traffic elsewhere |
//! | has it started? | `/startupz` | once [`Phase::Ready`] has been reached | before | waits, then kills it |
//!
//! Liveness checks no dependencies: a database outage or a drain must not make the orchestrator kill instances. A
//! readiness check is for a dependency that one instance can lose alone (its warm-up, its disk, its pool). A required
//! check of a dependency that all instances share takes all of them out at once and turns a slow database into an
//! outage: make that an [optional check](Health::optional_check).
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
//! # Checks
//!
//! * Checks run only when a probe arrives, only in [`Phase::Ready`], concurrently, each with a
//!   [deadline](Health::deadline) and in a task of its own: a probe that is dropped does not end the run that it began.
//! * There is one run at a time, and its results are [cached](Health::cache). However many probes arrive, a check runs
//!   at most once per cache period.
//! * A check that panics has failed. A check that exceeds its deadline has failed and is dropped. A check that blocks
//!   its thread cannot be dropped: it is not started again before it returns.
//! * Readiness stops waiting for checks the moment the process begins to leave.
//!
//! # Responses
//!
//! The routes serve GET, HEAD and OPTIONS; other methods get 405. Responses carry `Cache-Control: no-store`. The
//! content type is `application/json`; the words `pass`, `warn` and `fail` come from draft-inadarei-api-health-check,
//! whose nested form (`application/health+json`) is not used. A client that may see the [`Details`], by default a peer
//! on the loopback, gets
//!
//! ```json
//! {"status":"fail","phase":"ready","version":"1.2.3","uptime_seconds":86400,"age_ms":312,
//!  "components":[
//!   {"name":"disk","status":"pass","optional":false,"duration_ms":1},
//!   {"name":"cache","status":"warn","optional":true,"duration_ms":2000,"error":"timed out after 2s"}]}
//! ```
//!
//! and any other client `status` (without `warn`) and `phase`, from static bytes. `age_ms` is the time since the checks
//! ended; outside of [`Phase::Ready`] the components are those of the last run, or `unknown`.
//!
//! # Access
//!
//! * [`Health::layer`] responds on the service's own port, in front of everything else; [`Health::liveness`],
//!   [`Health::readiness`] and [`Health::startup`] are services, for a router or for a port of their own.
//! * [`probe`] is a client, for a container's `HEALTHCHECK`.
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
pub(crate) use answer::Pending;
pub use details::Details;
pub use future::HealthFuture;
#[cfg(feature = "tonic")]
pub use grpc::{GrpcHealth, WatchStream};
pub use handle::Health;
#[cfg(feature = "serve")]
pub(crate) use handle::ONE_HEALTH;
pub use layer::HealthLayer;
pub use probe::{ProbeError, probe, probe_within};
pub use report::{Component, HealthReport, Status};
pub use service::{HealthEndpoint, HealthService};
