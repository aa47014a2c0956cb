use std::fmt;
use std::time::Duration;

use http::Extensions;
use tokio_util::sync::CancellationToken;

use super::bind::Bind;
use crate::allowed_hosts::AllowedHosts;
use crate::conn_info::ConnInfo;
use crate::error::BoxError;
#[cfg(feature = "tonic")]
use crate::health::GrpcHealth;
use crate::health::{Health, HealthLayer};
use crate::real_ip::TrustedProxies;
use crate::serve::{Limits, Protocols, Timeouts};
use crate::shutdown::{Shutdown, ShutdownHandle, StepOutput};
use crate::stack::Stack;

pub(super) type Worker = Box<dyn FnOnce(&ShutdownHandle) + Send>;
pub(super) type Change<T> = Box<dyn FnOnce(T) -> T + Send>;
pub(super) type OnConnection = Box<dyn Fn(&ConnInfo, &mut Extensions) + Send + Sync>;

/// A service with everything that belongs to it; see the [module](super).
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    pub(super) name: String,
    pub(super) shutdown: Shutdown,
    pub(super) health: Health,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) protocols: Protocols,
    pub(super) proxies: TrustedProxies,
    /// `None`: the stack's default; the inner one: off.
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) body_limit: Option<Option<u64>>,
    #[cfg(feature = "rate-limit")]
    pub(super) rate_limit: Option<crate::RateLimitLayer>,
    #[cfg(feature = "rate-limit")]
    pub(super) quotas: Option<String>,
    #[cfg(feature = "rate-limit")]
    pub(super) rate_limit_layers: Vec<Change<crate::RateLimitLayer>>,
    #[cfg(feature = "tonic")]
    pub(super) grpc_health: Option<Change<GrpcHealth>>,
    #[cfg(feature = "metrics")]
    pub(super) metrics: crate::metrics::MetricsBuilder,
    #[cfg(feature = "metrics")]
    pub(super) registry: Option<prometheus_client::registry::Registry>,
    #[cfg(feature = "metrics")]
    pub(super) last_scrape: Option<Duration>,
    #[cfg(feature = "tracing")]
    pub(super) access_log: bool,
    #[cfg(feature = "tracing")]
    pub(super) logs: bool,
    pub(super) admin: Option<Bind>,
    pub(super) admin_hosts: AllowedHosts,
    #[cfg(feature = "axum")]
    pub(super) admin_routes: axum::Router,
    pub(super) announces: bool,
    pub(super) workers: Vec<Worker>,
    pub(super) worker_names: Vec<String>,
    pub(super) probes: Vec<Change<HealthLayer>>,
    pub(super) layers: Vec<Change<Stack>>,
    #[cfg(feature = "axum")]
    pub(super) outer_layers: Vec<Change<axum::Router>>,
    pub(super) on_connection: Vec<OnConnection>,
    /// The invalid settings, reported at the start.
    pub(super) problems: Vec<String>,
}

impl Server {
    /// Creates a server of this name, which the start line, the status page and the log show.
    ///
    /// It hears signals from this moment on ([`Shutdown::new`]): make it first.
    pub fn new(name: impl Into<String>) -> Self {
        Self::with(name.into(), Shutdown::new())
    }

    /// Creates a server for a test: it installs no signal handlers, has no lame-duck wait
    /// ([`Shutdown::for_tests`]), and does not [announce](Self::announce) its start and its report.
    pub fn for_tests() -> Self {
        Self::with("test".to_owned(), Shutdown::for_tests()).announce(false)
    }

    fn with(name: String, shutdown: Shutdown) -> Self {
        let health = Health::new(shutdown.handle().lifecycle());
        Server {
            name,
            shutdown,
            health,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            protocols: Protocols::default(),
            proxies: TrustedProxies::none(),
            timeout: None,
            body_limit: None,
            #[cfg(feature = "rate-limit")]
            rate_limit: None,
            #[cfg(feature = "rate-limit")]
            quotas: None,
            #[cfg(feature = "rate-limit")]
            rate_limit_layers: Vec::new(),
            #[cfg(feature = "tonic")]
            grpc_health: None,
            #[cfg(feature = "metrics")]
            metrics: crate::Metrics::builder(),
            #[cfg(feature = "metrics")]
            registry: None,
            #[cfg(feature = "metrics")]
            last_scrape: None,
            #[cfg(feature = "tracing")]
            access_log: false,
            #[cfg(feature = "tracing")]
            logs: true,
            admin: None,
            admin_hosts: AllowedHosts::private(),
            #[cfg(feature = "axum")]
            admin_routes: axum::Router::new(),
            announces: true,
            workers: Vec::new(),
            worker_names: Vec::new(),
            probes: Vec::new(),
            layers: Vec::new(),
            #[cfg(feature = "axum")]
            outer_layers: Vec::new(),
            on_connection: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Returns the handle of its shutdown: the phase, workers that start later, the hub of events.
    pub fn handle(&self) -> ShutdownHandle {
        self.shutdown.handle()
    }

    /// Runs a worker from the start on, until it is to stop: after the drain, because requests in flight may need it.
    /// It may return nothing or a `Result`; a failure or a panic before that is
    /// [`Event::WorkerEnded`](crate::events::Event::WorkerEnded), and fails readiness. Its argument is tokio-util's
    /// `CancellationToken`, [re-exported](crate::shutdown::CancellationToken): it is cancelled when the worker is to stop.
    /// Each worker has a name of its own.
    ///
    /// ```
    /// # use lameduck::Server;
    /// # async fn next() -> Result<(), std::io::Error> { Ok(()) }
    /// let server = Server::new("shop").worker("mailer", |stop| async move {
    ///     while !stop.is_cancelled() {
    ///         tokio::select! {
    ///             () = stop.cancelled() => {}
    ///             mail = next() => mail?,
    ///         }
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// });
    /// # drop(server);
    /// ```
    pub fn worker<F, R>(mut self, name: &str, work: F) -> Self
    where
        F: FnOnce(CancellationToken) -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        let owned = name.to_owned();
        self.worker_names.push(owned.clone());
        self.workers
            .push(Box::new(move |handle| handle.spawn_worker(&owned, work)));
        self
    }

    /// Runs a worker without which the process is of no use: as [`worker`](Self::worker), and whenever it ends before
    /// it is to stop, also by itself, the shutdown begins.
    pub fn essential_worker<F, R>(mut self, name: &str, work: F) -> Self
    where
        F: FnOnce(CancellationToken) -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        let owned = name.to_owned();
        self.worker_names.push(owned.clone());
        let start = move |handle: &ShutdownHandle| handle.spawn_essential_worker(&owned, work);
        self.workers.push(Box::new(start));
        self
    }

    /// Runs `close` after the drain and the workers, in the order of the calls; see [`Shutdown::closer`].
    pub fn closer<F, R>(self, name: &str, budget: Duration, close: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.shutdown(|shutdown| shutdown.closer(name, budget, close))
    }

    /// Runs `flush` last, also when the rest is cut short; see [`Shutdown::flush`].
    pub fn flush<F, R>(self, name: &str, budget: Duration, flush: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.shutdown(|shutdown| shutdown.flush(name, budget, flush))
    }

    /// Changes the shutdown: budgets, the orchestrator's grace, signals, a readiness that is set by hand. The closure
    /// returns the shutdown that it was given; the server does not start with another one.
    ///
    /// ```
    /// # use lameduck::Server;
    /// # use std::time::Duration;
    /// let server = Server::new("shop")
    ///     .shutdown(|shutdown| shutdown.termination_grace(Duration::from_secs(60)).drain(Duration::from_secs(40)));
    /// # drop(server);
    /// ```
    pub fn shutdown(mut self, change: impl FnOnce(Shutdown) -> Shutdown) -> Self {
        let handle = self.shutdown.handle();
        self.shutdown = change(self.shutdown);
        if !self.shutdown.handle().is_of(&handle) {
            let problem = "shutdown: the closure returned another `Shutdown` than it was given; change that one";
            self.problems.push(problem.to_owned());
        }
        self
    }

    /// Fails readiness while the check fails: for what this instance can lose alone. What all instances share takes all
    /// of them out at once; that is an [`optional_check`](Self::optional_check). See [`Health::check`].
    pub fn check<F, R, E>(mut self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.health = self.health.check(name, check);
        self
    }

    /// Shows in the details of readiness whether the check fails, and stays ready; see [`Health::optional_check`].
    pub fn optional_check<F, R, E>(mut self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.health = self.health.optional_check(name, check);
        self
    }

    /// Answers the gRPC health protocol (`grpc.health.v1.Health`), by the same readiness as `/readyz`, and as that in
    /// front of all layers: without a rate limit, metrics or a line in the log. Name the services of which clients ask;
    /// `""` is the process. The service must not be among the routes as well. Default: off.
    ///
    /// ```
    /// let server = lameduck::Server::new("shop").grpc_health(|health| health.service("shop.Tally"));
    /// # drop(server);
    /// ```
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    pub fn grpc_health(
        mut self,
        change: impl FnOnce(GrpcHealth) -> GrpcHealth + Send + 'static,
    ) -> Self {
        self.grpc_health = Some(Box::new(change));
        self
    }

    /// Changes the health: the version that is shown, the deadline of checks, who may see details.
    ///
    /// The probes take `/healthz`, `/readyz` and `/startupz` on the service's own port: a route of the service with such
    /// a path is never called. [`probes`](Self::probes) moves them.
    pub fn health(mut self, change: impl FnOnce(Health) -> Health) -> Self {
        self.health = change(self.health);
        self
    }

    /// Changes the paths of the probes on the service's own port, which are taken from the service's routes; an empty
    /// path switches a probe off. The admin port keeps its own. Default: `/healthz`, `/readyz` and `/startupz`.
    ///
    /// ```
    /// # use lameduck::Server;
    /// let server = Server::new("shop")
    ///     .probes(|layer| layer.liveness_at("/live").readiness_at("/ready").startup_at(""));
    /// # drop(server);
    /// ```
    pub fn probes(
        mut self,
        change: impl FnOnce(HealthLayer) -> HealthLayer + Send + 'static,
    ) -> Self {
        self.probes.push(Box::new(change));
        self
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("shutdown", &self.shutdown)
            .field("workers", &self.worker_names)
            .finish_non_exhaustive()
    }
}
