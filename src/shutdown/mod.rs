//! The coordinator of a process's end: signals, phases, workers, closers, and a report.
//!
//! A [`Shutdown`] says what is to happen and how long each part may take; the server that it is given to
//! drives it. The [`Handle`] is for the rest of the process: it reads the phase, runs workers, and can
//! begin the shutdown from code.
//!
//! | | what happens | at most |
//! |---|---|---|
//! | SIGTERM | readiness fails; requests are served, and asked to go elsewhere | [`lame_duck`](Shutdown::lame_duck), always whole |
//! | drain | no more accepting; what is in flight is finished; at the deadline it is cut and named | [`drain`](Shutdown::drain) |
//! | workers | are told to stop | [`workers`](Shutdown::workers) |
//! | closers | one after the other, as they were added | each its own budget |
//! | flush | logs and traces | each its own budget |
//! | observers | ports that [observe](crate::serve::Serve::observe) give their last answers | 1 s, of the [`margin`](Shutdown::margin) |
//!
//! SIGINT (a person at a terminal) skips the lame-duck wait. A second signal ends everything at once: what
//! is in flight is cut, workers are aborted, closers are skipped, and only the flushes still run. All
//! budgets together must fit into the orchestrator's [`termination_grace`](Shutdown::termination_grace);
//! if they do not, the server does not start, and says which number to change. Waiting is by
//! notification: when nothing is left to wait for, the next part begins at once.
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

mod budgets;
mod counts;
mod error;
mod handle;
mod observers;
mod order;
mod report;
mod sequence;
mod signals;
mod steps;
#[cfg(test)]
mod tests;
mod workers;

pub use budgets::{Budgets, InvalidShutdown};
pub use counts::{ConnectionCounts, ConnectionState};
pub use error::StartError;
pub use handle::Handle;
pub use report::{Cause, CutRequest, Report, Step, StepEnd, StepKind};
pub use steps::StepOutput;

pub(crate) use sequence::Drains;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::events::Events;
use sequence::Sequence;
use signals::Signals;
use steps::Planned;

/// What happens, and how long each part may take, from the signal to the end of the process.
#[must_use = "a shutdown does nothing until a server drives it"]
pub struct Shutdown {
    handle: Handle,
    budgets: Budgets,
    grace: Duration,
    signals: bool,
    starting: bool,
    closers: Vec<Planned>,
    flushes: Vec<Planned>,
}

impl Shutdown {
    /// SIGTERM and SIGINT, [`Budgets::default`] within a grace of 30 s (the default of ECS and of
    /// Kubernetes), no workers, no closers.
    pub fn new() -> Self {
        Shutdown {
            handle: Handle::new(),
            budgets: Budgets::default(),
            grace: Duration::from_secs(30),
            signals: true,
            starting: false,
            closers: Vec::new(),
            flushes: Vec::new(),
        }
    }

    /// All budgets at once.
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// How long the process goes on serving after the signal, while it asks everyone to go elsewhere:
    /// longer than the load balancer needs to see a failing readiness probe. Default: 5 s.
    pub fn lame_duck(mut self, window: Duration) -> Self {
        self.budgets.lame_duck = window;
        self
    }

    /// How long requests in flight may take after that. Default: 15 s.
    pub fn drain(mut self, most: Duration) -> Self {
        self.budgets.drain = most;
        self
    }

    /// How long workers may take to stop. Default: 5 s.
    pub fn workers(mut self, most: Duration) -> Self {
        self.budgets.workers = most;
        self
    }

    /// What is kept in reserve; observers give their last answers in it. Default: 1 s.
    pub fn margin(mut self, reserve: Duration) -> Self {
        self.budgets.margin = reserve;
        self
    }

    /// How long the orchestrator waits between SIGTERM and SIGKILL: ECS `stopTimeout`, Kubernetes
    /// `terminationGracePeriodSeconds`, Cloud Run's 10 s. All budgets must fit into it, or the server
    /// does not start. Default: 30 s.
    pub fn termination_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whether SIGTERM and SIGINT begin it. Default: yes.
    pub fn signals(mut self, listen: bool) -> Self {
        self.signals = listen;
        self
    }

    /// Stays in [`Phase::Starting`](crate::Phase::Starting) (readiness 503, requests are served) until
    /// [`Handle::ready`] is called; otherwise the process is ready when the server begins to accept.
    pub fn starting(mut self) -> Self {
        self.starting = true;
        self
    }

    /// Runs `close` after the drain and the workers, in the order in which closers were added: pool,
    /// cache, broker. It gets at most `budget`; a panic or a failure does not stop the others.
    ///
    /// ```
    /// # use lameduck::Shutdown;
    /// # use std::time::Duration;
    /// let shutdown = Shutdown::new()
    ///     .closer("postgres", Duration::from_secs(2), || async { /* pool.close().await */ })
    ///     .flush("traces", Duration::from_secs(1), || async { Ok::<(), std::io::Error>(()) });
    /// # drop(shutdown);
    /// ```
    pub fn closer<F, R>(mut self, name: &str, budget: Duration, close: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.closers.push(Planned::new(name, budget, close));
        self
    }

    /// As [`closer`](Self::closer), after all closers: the flush of logs and traces. It runs even when
    /// a second signal cuts the rest.
    pub fn flush<F, R>(mut self, name: &str, budget: Duration, flush: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.flushes.push(Planned::new(name, budget, flush));
        self
    }

    /// The handle by which the rest of the process takes part in it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Checks the budgets against the grace, as a starting server does.
    ///
    /// # Errors
    ///
    /// They do not fit; the message says which number to change, and to what.
    pub fn check(&self) -> Result<(), InvalidShutdown> {
        let steps = self.closers.iter().chain(&self.flushes);
        let closers = steps.fold(Duration::ZERO, |sum, step| sum.saturating_add(step.budget));
        self.budgets.check(closers, self.grace)
    }

    /// Drives it without a server of [`serve`](crate::serve()): for a process that has workers only, or
    /// an accept loop of its own whose connections follow by
    /// [`Connections`](crate::serve::Connections).
    ///
    /// # Errors
    ///
    /// The budgets do not fit, or signals cannot be listened to.
    ///
    /// ```
    /// # use lameduck::Shutdown;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let shutdown = Shutdown::new().lame_duck(Duration::ZERO);
    /// let handle = shutdown.handle();
    /// handle.spawn_worker("queue", |stop| async move { stop.cancelled().await });
    /// # handle.shutdown();
    /// let report = shutdown.run().await.unwrap(); // until SIGTERM
    /// assert!(report.is_clean());
    /// # }
    /// ```
    pub async fn run(self) -> Result<Report, StartError> {
        let handle = self.handle.clone();
        let sequence = self.start(Events::none())?;
        if !sequence.waits_for_ready() {
            handle.ready();
        }
        Ok(sequence.run().await)
    }

    /// Checks the budgets and begins to listen for signals.
    pub(crate) fn start(self, events: Events) -> Result<Sequence, StartError> {
        self.check()?;
        let signals = match self.signals {
            true => Some(Signals::listen().map_err(StartError::Signals)?),
            false => None,
        };
        self.handle.listen(events);
        Ok(Sequence {
            handle: self.handle,
            budgets: self.budgets,
            signals,
            starting: self.starting,
            closers: self.closers,
            flushes: self.flushes,
        })
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("budgets", &self.budgets)
            .field("grace", &self.grace)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}
