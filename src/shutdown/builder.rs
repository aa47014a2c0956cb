use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::planned::Planned;
use super::sequence::Trigger;
#[cfg(unix)]
use super::signal_thread::{Grace, Subscription, Unsubscribed};
use super::undriven::Undriven;
use super::{Budgets, ShutdownHandle, Signals, StepOutput};
use crate::events::EventSink;

/// The shutdown of a process: its steps, and their budgets, from the signal to the end of the process.
///
/// One that is dropped before a server takes it or it [runs](Self::run), or is left at [`Report::exit`](super::Report::exit), is reported if something depends on it:
/// closers, flushes, workers, servers that follow or observe, reloads, or an order to leave. It emits
/// [`Event::Misconfigured`](crate::events::Event::Misconfigured), and writes one line to standard error. So does a second
/// one that is driven while another receives the same signals: one server drives, and the others
/// [follow](crate::serve::Serve::follow) or [observe](crate::serve::Serve::observe) its handle.
///
/// It is no `Clone`, and what drives it takes it: a shutdown cannot be driven twice.
///
/// ```compile_fail,E0382
/// # async fn twice() {
/// let shutdown = lameduck::Shutdown::new();
/// let (one, two) = tokio::join!(shutdown.run(), shutdown.run());
/// # }
/// ```
#[doc(alias("graceful_shutdown", "SIGTERM"))]
#[must_use = "a shutdown does nothing until a server drives it"]
pub struct Shutdown {
    pub(super) handle: ShutdownHandle,
    pub(super) undriven: Undriven,
    /// The future that begins it.
    pub(super) trigger: Option<Trigger>,
    pub(super) budgets: Budgets,
    pub(super) grace: Duration,
    pub(super) enforce_grace: bool,
    pub(super) signals: Signals,
    /// The subscription to signals, from the creation on; an error is reported when the server starts.
    #[cfg(unix)]
    pub(super) subscription: Option<std::io::Result<Subscription>>,
    #[cfg(unix)]
    pub(super) deaf: Option<Unsubscribed>,
    pub(super) starting: bool,
    pub(super) lame_duck_is_set: bool,
    pub(super) closers: Vec<Planned>,
    pub(super) flushes: Vec<Planned>,
}

impl Shutdown {
    /// Creates a shutdown with [`Signals::new`] and [`Budgets::default`] within a grace of 30 s (the default of ECS and
    /// of Kubernetes), without workers and closers.
    ///
    /// It receives signals from this moment on, in any thread and without a runtime: an order that comes during
    /// start-up takes effect when the server is awaited. So create it first. (As PID 1 a process without handlers is
    /// not even ended by SIGTERM.)
    pub fn new() -> Self {
        Self::with_signals(Signals::new())
    }

    /// Creates a shutdown for a test: it receives no signals and has no lame-duck wait.
    pub fn for_tests() -> Self {
        Self::with_signals(false).lame_duck(Duration::ZERO)
    }

    /// Creates a shutdown as [`new`](Self::new) does, with other signals. With [`Signals::off`] (or `false`)
    /// no handler is installed in the process.
    pub fn with_signals(signals: impl Into<Signals>) -> Self {
        let handle = ShutdownHandle::new();
        Shutdown {
            undriven: Undriven::new(&handle),
            handle,
            trigger: None,
            budgets: Budgets::default(),
            grace: Duration::from_secs(30),
            enforce_grace: true,
            signals: Signals::off(),
            #[cfg(unix)]
            subscription: None,
            #[cfg(unix)]
            deaf: None,
            starting: false,
            lame_duck_is_set: false,
            closers: Vec::new(),
            flushes: Vec::new(),
        }
        .signals(signals)
    }

    /// Sets all budgets at once.
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self.lame_duck_is_set = true;
        self.updated()
    }

    /// Sets how long the process goes on serving after the signal, while it asks all clients to go elsewhere: longer
    /// than the load balancer needs to see a failing readiness probe. Set it to zero if there is no balancer. Default:
    /// 5 s; none for a process that [runs](Self::run) without connections.
    pub fn lame_duck(mut self, window: Duration) -> Self {
        self.budgets.lame_duck = window;
        self.lame_duck_is_set = true;
        self
    }

    /// Sets how long requests in flight may take after that. Default: 15 s.
    pub fn drain(mut self, most: Duration) -> Self {
        self.budgets.drain = most;
        self
    }

    /// Sets how long workers may take to stop. Default: 5 s.
    pub fn workers(mut self, most: Duration) -> Self {
        self.budgets.workers = most;
        self
    }

    /// Sets the reserve; observers give their last responses in it. Default: 1 s.
    pub fn margin(mut self, reserve: Duration) -> Self {
        self.budgets.margin = reserve;
        self.updated()
    }

    /// Sets the orchestrator's time between SIGTERM and SIGKILL: ECS `stopTimeout`, Kubernetes
    /// `terminationGracePeriodSeconds` less the time of a `preStop` hook, 10 s of Docker and Cloud Run, 5 s of Fly.io
    /// and Nomad (see the [table](super#graces)). All budgets must fit into it, or the server does not start; at its
    /// end [the process is ended](Self::enforce_grace). Default: 30 s.
    pub fn termination_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self.updated()
    }

    /// Sets whether a process that received a signal to end is ended when its [grace](Self::termination_grace) is
    /// almost over (all but half the [margin](Self::margin)), or 1 s and the budgets of the flushes after a second
    /// signal, whatever it does then. A thread of the library's own writes one line to standard error and exits with
    /// [`EXIT_FORCED`](crate::shutdown::EXIT_FORCED). It does not wait for a runtime that is blocked, a task that
    /// [`spawn_blocking`](tokio::task::spawn_blocking) began, or a reader of the logs that has stopped to read.
    /// Default: `true`.
    ///
    /// The time counts from a signal: a shutdown that a [`ShutdownHandle`] begins never ends the process. It goes on after the
    /// [`Report`](crate::Report) is made; a process that is to live on after it needs `false` here.
    pub fn enforce_grace(mut self, enforce: bool) -> Self {
        self.enforce_grace = enforce;
        self.updated()
    }

    /// Sets the action of each signal; see the table of [`Signals`]. `true` stands for [`Signals::new`], `false` for
    /// [`Signals::off`].
    ///
    /// The handlers that [`new`](Self::new) has installed stay in the process: with `off`, a signal then only has the
    /// effect of other handlers of the process (tokio's). To leave a signal its usual effect, use
    /// [`with_signals`](Self::with_signals), or [`SignalAction::Default`](crate::shutdown::SignalAction::Default).
    pub fn signals(mut self, signals: impl Into<Signals>) -> Self {
        self.signals = signals.into();
        #[cfg(unix)]
        {
            self.deaf = self.signals.are_off().then(Unsubscribed::new);
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

    /// Updates the thread that ends the process with the new settings.
    fn updated(self) -> Self {
        #[cfg(unix)]
        if let Some(Ok(subscription)) = &self.subscription {
            subscription.set(self.signals, self.grace());
        }
        self
    }

    /// Stays in [`Phase::Starting`](crate::Phase::Starting) (readiness 503, requests are served) until
    /// [`ShutdownHandle::ready`] is called; otherwise the process is ready when the server begins to accept.
    pub fn starting(mut self) -> Self {
        self.starting = true;
        self
    }

    /// Begins the whole sequence when `future` completes, as [`ShutdownHandle::shutdown`] does. Several may be given:
    /// the first that completes counts. Signals stay in force beside them.
    ///
    /// The future is polled by the server that drives the shutdown, and dropped when the shutdown begins.
    ///
    /// ```
    /// # use lameduck::Shutdown;
    /// # use tokio_util::sync::CancellationToken;
    /// let token = CancellationToken::new();
    /// let shutdown = Shutdown::new().shutdown_on(token.clone().cancelled_owned());
    /// # drop(shutdown);
    /// ```
    #[doc(alias("with_graceful_shutdown", "serve_with_shutdown"))]
    pub fn shutdown_on(mut self, future: impl Future<Output = ()> + Send + 'static) -> Self {
        self.handle.note_use();
        self.trigger = Some(match self.trigger.take() {
            Some(earlier) => Box::pin(async move {
                tokio::select! {
                    () = earlier => {}
                    () = future => {}
                }
            }),
            None => Box::pin(future),
        });
        self
    }

    /// Adds a closer: `close` runs after the drain and the workers, in the order in which closers were added: pool,
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
        self.handle.note_use();
        self.closers.push(Planned::new(name, budget, close));
        self
    }

    /// Adds a flush of logs or traces. It runs as a [`closer`](Self::closer) does, after all closers, even when a
    /// second signal cuts the rest.
    pub fn flush<F, R>(mut self, name: &str, budget: Duration, flush: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.handle.note_use();
        self.flushes.push(Planned::new(name, budget, flush));
        self.updated()
    }

    /// Adds listeners to the hub: they receive the events of the shutdown, its servers, and all that is made from its
    /// handle. See [`ShutdownHandle::listen`].
    pub fn events(self, events: EventSink) -> Self {
        self.handle.listen(events);
        self
    }

    /// Returns the handle by which the rest of the process takes part in it.
    pub fn handle(&self) -> ShutdownHandle {
        self.handle.clone()
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
