//! The coordinator of a process's shutdown: signals, phases, workers, closers, and a report.
//!
//! A [`Shutdown`] defines the steps and their budgets; the server that takes it drives it. The [`ShutdownHandle`] is for the
//! rest of the process: it reads the phase, runs workers, and can begin the shutdown from code.
//!
//! | step | effect | at most |
//! |---|---|---|
//! | SIGTERM | readiness fails; requests are served, and asked to go elsewhere | [`lame_duck`](Shutdown::lame_duck), always whole |
//! | drain | no more accepting; requests in flight are finished; at the deadline they are cut and named | [`drain`](Shutdown::drain) |
//! | workers | are asked to stop | [`workers`](Shutdown::workers) |
//! | closers | one after the other, as they were added | each its own budget |
//! | flush | logs and traces | each its own budget |
//! | observers | ports that [observe](crate::serve::Serve::observe) give their last responses | 1 s, of the [`margin`](Shutdown::margin) |
//!
//! [`Signals`] defines the action of each signal: SIGTERM, SIGQUIT and SIGINT begin the shutdown, and SIGINT skips the
//! lame-duck wait if it is a person's Ctrl-C. A thread of its own receives them from the creation of the [`Shutdown`]
//! on, so that an order during start-up takes effect. A second signal ends everything at once: requests in flight are
//! cut, workers are aborted, closers are skipped, and only the flushes still run. One that comes within a second is a
//! repetition and has no effect, because process groups and wrappers send two, except a SIGINT after another signal and
//! a second Ctrl-C at a terminal: these cut at once. Each signal is [`Event::Signal`](crate::events::Event::Signal), and
//! a Ctrl-C at a terminal is answered by a line on standard error. All budgets together must fit into the orchestrator's
//! [`termination_grace`](Shutdown::termination_grace); if they do not, the server does not start, and its error names
//! the number to change. Waiting is by notification: when there is nothing left to wait for, the next part begins at
//! once.
//!
//! A process that hangs nevertheless (a blocked runtime, a log that is not read, a thread that `main` waits for) [is
//! ended](Shutdown::enforce_grace) just before its grace is over, and reports it.
//!
//! # Graces
//!
//! The default time of each platform between its signal and SIGKILL:
//!
//! | platform | grace | setting | signal |
//! |---|---|---|---|
//! | Kubernetes | 30 s, from which a `preStop` hook takes its own time first | `terminationGracePeriodSeconds` | SIGTERM |
//! | ECS | 30 s; on Fargate at most 120 s | `stopTimeout` | SIGTERM, or the image's `STOPSIGNAL` |
//! | Cloud Run | 10 s | not to be set | SIGTERM |
//! | Docker, Compose | 10 s | `docker stop --time`, `stop_grace_period` | SIGTERM, or the image's `STOPSIGNAL` |
//! | Fly.io | 5 s | `kill_timeout` | SIGINT, `kill_signal` |
//! | Nomad | 5 s | `kill_timeout` | SIGINT, `kill_signal` |
//! | Heroku | 30 s | not to be set | SIGTERM, to every process of the dyno |
//! | systemd | 90 s | `TimeoutStopSec` | SIGTERM |
//!
//! The defaults here (5 s lame duck, 15 s drain, 5 s workers, 1 s margin) fit into 30 s, and leave 4 s for closers and
//! flushes. For 10 s: `lame_duck` 2 s, `drain` 5 s, `workers` 1 s. For 5 s: `lame_duck` 1 s, `drain` 2 s, `workers` 500
//! ms, `margin` 500 ms; or a longer grace. With a `preStop` hook that sleeps, for as long as the endpoints take to be
//! updated, set [`termination_grace`](Shutdown::termination_grace) to the rest, and `lame_duck` to zero: the hook has
//! been the lame duck.
//!
//! ```
//! use lameduck::{Phase, Shutdown};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let shutdown = Shutdown::new()
//!     .lame_duck(Duration::from_millis(20))
//!     .closer("database", Duration::from_secs(2), || async { /* pool.close().await */ });
//! let handle = shutdown.handle();
//! handle.spawn_worker("ticker", |stop| async move { stop.cancelled().await });
//!
//! let app = axum::Router::new();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! let server = tokio::spawn(lameduck::serve(listener, app).shutdown(shutdown).into_future());
//!
//! handle.lifecycle().reached(Phase::Ready).await;
//! handle.shutdown(); // what SIGTERM does
//! let report = server.await.unwrap().unwrap();
//! assert!(report.is_clean());
//! assert_eq!(report.steps.len(), 2); // the worker and the closer
//! # }
//! ```
//!
//! # Testing your drain
//!
//! On tokio's paused clock (`#[tokio::test(start_paused = true)]`, tokio's feature `test-util`) a drain of seconds
//! takes none. [`with_signals(false)`](Shutdown::with_signals) leaves the signals to the test runner, port 0 keeps
//! tests apart, and [`ShutdownHandle::shutdown`] does what SIGTERM does.
//!
//! ```
//! use axum::{Router, routing::get};
//! use lameduck::Shutdown;
//! use std::time::Duration;
//! use tokio::net::TcpListener;
//! use tokio::sync::Notify;
//!
//! static STARTED: Notify = Notify::const_new();
//!
//! /// Holds a request to `/slow` for `time`, begins the shutdown meanwhile, and returns the answer and the report.
//! async fn shut_down_during(time: Duration) -> (reqwest::Result<String>, lameduck::Report) {
//!     let slow = move || async move {
//!         STARTED.notify_one();
//!         tokio::time::sleep(time).await;
//!         "done"
//!     };
//!     let app = Router::new().route("/slow", get(slow));
//!     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
//!     let url = format!("http://{}/slow", listener.local_addr().unwrap());
//!
//!     let shutdown = Shutdown::with_signals(false).lame_duck(Duration::ZERO).drain(Duration::from_secs(15));
//!     let handle = shutdown.handle();
//!     let server = tokio::spawn(lameduck::serve(listener, app).shutdown(shutdown).into_future());
//!     let client = tokio::spawn(async { reqwest::get(url).await?.text().await });
//!     STARTED.notified().await;
//!     handle.shutdown();
//!     (client.await.unwrap(), server.await.unwrap().unwrap())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // A request that fits the drain is answered.
//! let (answer, report) = shut_down_during(Duration::from_secs(10)).await;
//! assert_eq!(answer.unwrap(), "done");
//! assert!(report.is_clean(), "{report}");
//!
//! // One that does not is cut, and the report names it.
//! let (answer, report) = shut_down_during(Duration::from_secs(60)).await;
//! assert!(answer.is_err());
//! assert_eq!(report.cut[0].path, "/slow");
//! # }
//! ```

mod announce;
mod budgets;
mod builder;
mod cause;
mod counts;
mod drained;
mod error;
mod facts;
mod handle;
mod live;
mod notices;
mod obeys;
mod observers;
mod order;
mod planned;
mod reload;
mod report;
mod request;
mod sequence;
mod server;
#[cfg(unix)]
mod signal_thread;
mod signals;
mod spawn;
mod start;
mod step;
#[cfg(test)]
mod tests;
mod undriven;
mod workers;

pub use budgets::{Budgets, InvalidShutdown};
pub use builder::Shutdown;
pub use cause::Cause;
pub use counts::{ConnectionCounts, ConnectionState};
pub use error::StartError;
pub use handle::ShutdownHandle;
pub use planned::StepOutput;
pub use reload::Reloads;
pub use report::Report;
pub use request::CutRequest;
pub use signals::{EXIT_FORCED, Signal, SignalAction, Signals};
pub use step::{Step, StepEnd, StepKind};
/// The stop token of workers, of tokio-util.
pub use tokio_util::sync::CancellationToken;

pub(crate) use sequence::Sequence;
pub(crate) use server::DrainServer;
