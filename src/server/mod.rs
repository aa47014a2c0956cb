//! The one obvious way in: a service with everything that belongs to it, wired once and in the one right way.
//!
//! [`Server`] owns the shutdown, the hub of events, metrics, health, the admin port, the logs and the
//! [stack](mod@crate::stack) of layers. What is set on it is set by value, in any order of calls; what is not set has a
//! default or is absent.
//!
//! ```
//! use lameduck::Server;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), lameduck::server::ServerError> {
//! let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }));
//! let running = Server::new("shop")
//! #   .shutdown(|shutdown| shutdown.lame_duck(Duration::ZERO))
//!     .trusted_proxies("10.0.0.0/8")
//!     .timeout(Duration::from_secs(3))
//!     .check("disk", || async { std::fs::metadata("/").map(|_| ()) })
//!     .worker("mailer", |stop| async move { stop.cancelled().await })
//!     .closer("database", Duration::from_secs(2), || async { /* pool.close().await */ })
//!     .admin("127.0.0.1:0") // /metrics, /healthz, /readyz, /startupz, and the page to watch a drain
//!     .serve("127.0.0.1:0", app)
//!     .spawn() // in a service: .await, to the end of the process
//!     .await?;
//! let report = running.shutdown().await?;
//! assert!(report.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! * [`serve`](Server::serve) binds, checks the settings, starts the workers, says in one line what is in force, and
//!   serves until a signal; then it drains and reports. [`run`](Server::run) does the same for a process without HTTP.
//! * The layers stand in the order of the [stack](mod@crate::stack): inside of an `axum::Router` (feature `axum`), so that
//!   metrics and log know the matched route, and around any other service. CORS and the like belong
//!   [around them](Server::outer_layers).
//! * `/healthz`, `/readyz` and `/startupz` are answered on the service's own port, and on the
//!   [admin port](Server::admin), which shows details and is there to the very end of the shutdown.
//! * gRPC: pass tonic's `Routes`. [`grpc_health`](Server::grpc_health) (feature `tonic`) answers the gRPC health protocol
//!   in front of all layers, as the probes are answered. Metrics, log and reports name a call by its method.
//! * Events of all parts go to one hub: metrics, the status page, the log (feature `tracing`), and what is added by
//!   [`events`](Server::events).
//! * [Workers](Server::worker) return nothing or a `Result`. One that fails or panics before it is to stop is an event and fails
//!   readiness; if it is [essential](Server::essential_worker), the shutdown begins.
//! * The start line and the report go to the `tracing` subscriber where there is one, else to standard error: `main` need
//!   not print the report. Other lines of the [log](crate::logs) need a subscriber
//!   (`tracing_subscriber::fmt().init()`, before all else); without one only warnings and errors go to standard error.
//!
//! Without a setting of your own: the defaults of [`Shutdown`](crate::Shutdown), of [`Timeouts`](crate::Timeouts), of
//! [`Limits`](crate::Limits) and of the stack; no rate limit, no trusted proxy, no access log, no admin port.
//!
//! # Testing
//!
//! [`Server::for_tests`] hears no signals and has no lame-duck wait; [`Serving::spawn`] gives the address, the handle and
//! the report. With a paused clock (`#[tokio::test(start_paused = true)]`) deadlines and budgets take no time:
//!
//! ```
//! use lameduck::Server;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }));
//! let running = Server::for_tests().serve("127.0.0.1:0", app).spawn().await?;
//!
//! let mut client = tokio::net::TcpStream::connect(running.addr().unwrap()).await?;
//! client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.ends_with("hello\n"));
//!
//! let report = running.shutdown().await?;
//! assert_eq!((report.requests, report.cut.len()), (1, 0));
//! # Ok(())
//! # }
//! ```

//! A [worker](Server::worker) is tested without HTTP: [`Server::run`] has no `spawn`, for there is no address to wait for,
//! so run it as a task, and stop it by the handle. The report shows how each worker ended: within its budget, by an
//! error, or aborted.
//!
//! ```
//! use lameduck::Server;
//! use lameduck::shutdown::StepEnd;
//! use tokio::sync::mpsc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (jobs, mut done) = mpsc::channel(1);
//! let server = Server::for_tests().worker("mailer", |stop| async move {
//!     jobs.send("the first job").await.ok();
//!     stop.cancelled().await; // what is under way is finished behind this
//!     jobs.send("the last job").await.ok();
//! });
//! let handle = server.handle();
//! let running = tokio::spawn(server.run());
//! assert_eq!(done.recv().await, Some("the first job"));
//!
//! handle.shutdown(); // as SIGTERM does
//! let report = running.await??;
//! assert_eq!(done.recv().await, Some("the last job"));
//! assert!(report.is_clean() && report.steps[0].end == StepEnd::Done, "{report}");
//! # Ok(())
//! # }
//! ```

mod admin;
mod announce;
mod bind;
mod builder;
mod compose;
mod error;
mod parts;
mod serving;
mod settings;

pub use admin::{AdminFuture, AdminService};
pub use bind::{Bind, IntoListener};
pub use builder::Server;
pub use error::ServerError;
pub use parts::Parts;
pub use serving::{Running, Serving};
