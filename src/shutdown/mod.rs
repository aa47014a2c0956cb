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
//! [`Signals`] says which signal does what: SIGTERM, SIGQUIT and SIGINT begin the shutdown, and SIGINT skips the
//! lame-duck wait where it is a person's Ctrl-C. They are heard from when the [`Shutdown`] is made, by a thread
//! of its own, so that an order that comes during start-up is obeyed. The same signal again within a second is a
//! repetition; a later one ends everything at once: what is in flight is cut, workers are aborted, closers are
//! skipped, and only the flushes still run. All budgets together must fit into the orchestrator's
//! [`termination_grace`](Shutdown::termination_grace); if they do not, the server does not start, and says which
//! number to change. Waiting is by notification: when nothing is left to wait for, the next part begins at once.
//!
//! A process that hangs nevertheless (a blocked runtime, a log that is not read, a thread that `main` waits
//! for) [is ended](Shutdown::enforce_grace) just before its grace is over, and says so.
//!
//! # Graces
//!
//! What the platform leaves a process between its signal and SIGKILL, if it is not told otherwise:
//!
//! | platform | grace | where it is set | signal |
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
//! The defaults here (5 s lame duck, 15 s drain, 5 s workers, 1 s margin) fit into 30 s, and leave 4 s for
//! closers and flushes. For 10 s: `lame_duck` 2 s, `drain` 5 s, `workers` 1 s. For 5 s: `lame_duck` 1 s, `drain`
//! 2 s, `workers` 500 ms, `margin` 500 ms; or a longer grace. With a `preStop` hook that sleeps, for as long as
//! the endpoints take to be told, set [`termination_grace`](Shutdown::termination_grace) to what is left, and
//! `lame_duck` to zero: the hook has been the lame duck.
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
#[cfg(test)]
mod drain_tests;
mod error;
mod handle;
mod observers;
mod order;
mod reload;
mod report;
mod sequence;
#[cfg(test)]
mod signal_tests;
#[cfg(unix)]
mod signal_thread;
mod signals;
mod steps;
#[cfg(test)]
mod tests;
mod workers;

pub use budgets::{Budgets, InvalidShutdown};
pub use counts::{ConnectionCounts, ConnectionState};
pub use error::StartError;
pub use handle::Handle;
pub use reload::Reloads;
pub use report::{Cause, CutRequest, Report, Step, StepEnd, StepKind};
pub use signals::{Signal, SignalAction, Signals};
pub use steps::StepOutput;

pub(crate) use sequence::Drains;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::events::Events;
use sequence::{Driver, Sequence};
#[cfg(unix)]
use signal_thread::{Deaf, Grace, Subscription};
use steps::Planned;

/// The exit code of a process that was ended because it did not end by itself: 124, as `timeout` has it.
/// See [`Shutdown::enforce_grace`].
pub const EXIT_FORCED: u8 = 124;

/// What happens, and how long each part may take, from the signal to the end of the process.
#[must_use = "a shutdown does nothing until a server drives it"]
pub struct Shutdown {
    handle: Handle,
    budgets: Budgets,
    grace: Duration,
    enforce_grace: bool,
    signals: Signals,
    /// Hears the signals from when it is made on; an error is told when the server starts.
    #[cfg(unix)]
    subscription: Option<std::io::Result<Subscription>>,
    #[cfg(unix)]
    deaf: Option<Deaf>,
    starting: bool,
    closers: Vec<Planned>,
    flushes: Vec<Planned>,
}

impl Shutdown {
    /// Creates a shutdown with [`Signals::new`] and [`Budgets::default`] within a grace of 30 s (the default
    /// of ECS and of Kubernetes), without workers and closers.
    ///
    /// It hears signals from this moment on, in any thread and without a runtime: an order that comes
    /// during start-up is obeyed when the server is awaited. So make it first. (As PID 1 a process without
    /// handlers is not even ended by SIGTERM.)
    pub fn new() -> Self {
        Self::with_signals(Signals::new())
    }

    /// Creates a shutdown as [`new`](Self::new) does, with other signals. With [`Signals::off`] (or `false`)
    /// no handler is installed in the process.
    pub fn with_signals(signals: impl Into<Signals>) -> Self {
        Shutdown {
            handle: Handle::new(),
            budgets: Budgets::default(),
            grace: Duration::from_secs(30),
            enforce_grace: true,
            signals: Signals::off(),
            #[cfg(unix)]
            subscription: None,
            #[cfg(unix)]
            deaf: None,
            starting: false,
            closers: Vec::new(),
            flushes: Vec::new(),
        }
        .signals(signals)
    }

    /// All budgets at once.
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self.updated()
    }

    /// How long the process goes on serving after the signal, while it asks everyone to go elsewhere:
    /// longer than the load balancer needs to see a failing readiness probe. Zero where there is no balancer to
    /// tell. Default: 5 s.
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
        self.updated()
    }

    /// How long the orchestrator waits between SIGTERM and SIGKILL: ECS `stopTimeout`, Kubernetes
    /// `terminationGracePeriodSeconds` less the time of a `preStop` hook, 10 s of Docker and Cloud Run, 5 s of
    /// Fly.io and Nomad (see the [table](self#graces)). All budgets must fit into it, or the server does not
    /// start; at its end [the process is ended](Self::enforce_grace). Default: 30 s.
    pub fn termination_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self.updated()
    }

    /// Sets whether a process that a signal has told to end is ended when its
    /// [grace](Self::termination_grace) is almost over (all but half the [margin](Self::margin)), or 1 s and
    /// the budgets of the flushes after a second signal, whatever it does then: a thread of the library's own
    /// writes one line to standard error and exits with [`EXIT_FORCED`], without waiting for a
    /// runtime that is blocked, a task that [`spawn_blocking`](tokio::task::spawn_blocking) began, or a
    /// reader of the logs that has stopped to read. Default: `true`.
    ///
    /// It counts from a signal: a shutdown that a [`Handle`] begins never ends the process. It goes on
    /// after the [`Report`] is made; a process that is to live on after it needs `false` here.
    pub fn enforce_grace(mut self, enforce: bool) -> Self {
        self.enforce_grace = enforce;
        self.updated()
    }

    /// Sets which signal does what; see the table of [`Signals`]. `true` stands for [`Signals::new`],
    /// `false` for [`Signals::off`].
    ///
    /// The handlers that [`new`](Self::new) has installed stay in the process: with `off`, signals then do
    /// nothing but what other handlers of the process (tokio's) do. To leave a signal its usual effect, use
    /// [`with_signals`](Self::with_signals), or [`SignalAction::Default`].
    pub fn signals(mut self, signals: impl Into<Signals>) -> Self {
        self.signals = signals.into();
        #[cfg(unix)]
        {
            self.deaf = self.signals.are_off().then(Deaf::new);
        }
        #[cfg(unix)]
        match (self.signals.are_off(), self.subscription.take()) {
            (true, Some(Ok(subscription))) => subscription.withdraw(),
            (true, _) => {}
            (false, None) => {
                let handle = self.handle.clone();
                let subscription = Subscription::new(handle, self.signals, self.grace());
                self.subscription = Some(subscription);
            }
            (false, subscription) => self.subscription = subscription,
        }
        self.updated()
    }

    #[cfg(unix)]
    fn grace(&self) -> Grace {
        Grace {
            enforced: self.enforce_grace,
            grace: self.grace,
            reserve: self.budgets.margin / 2,
            flushes: self.flushes.iter().map(|flush| flush.budget).sum(),
        }
    }

    /// Tells the thread that ends the process what has been set.
    fn updated(self) -> Self {
        #[cfg(unix)]
        if let Some(Ok(subscription)) = &self.subscription {
            subscription.set(self.signals, self.grace());
        }
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
        self.updated()
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
        #[cfg(unix)]
        let subscription = self.subscription.transpose();
        self.handle.listen(events);
        Ok(Sequence {
            driver: Driver {
                handle: self.handle,
                #[cfg(unix)]
                subscription: subscription.map_err(StartError::Signals)?,
                #[cfg(unix)]
                _deaf: self.deaf,
                finished: false,
            },
            budgets: self.budgets,
            #[cfg(not(unix))]
            signals: self.signals,
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
