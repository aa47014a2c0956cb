use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{AdminService, Server, ServerError, bind};
use crate::health::{Health, ONE_HEALTH};
use crate::in_flight::InFlightHandle;
#[cfg(feature = "metrics")]
use crate::metrics::{Metrics, MetricsEndpoint};
use crate::real_ip::RealIpLayer;
use crate::shutdown::{Shutdown, ShutdownHandle, StartError};
use crate::stack::{Stack, stack};
#[cfg(feature = "status")]
use crate::status::StatusPage;
use crate::text;
use crate::{BodyLimitLayer, TimeoutLayer};

/// The parts of a [`Server`], wired to each other: for a server that is put together by hand.
///
/// ```
/// # async fn run(tls: impl lameduck::serve::Listener) -> Result<(), Box<dyn std::error::Error>> {
/// let parts = lameduck::Server::new("shop").build()?;
/// let app = axum::Router::new().layer(parts.stack.clone());
/// let report = lameduck::serve(tls, app).shutdown(parts.shutdown).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts {
    /// The shutdown, which the server drives: `lameduck::serve(listener, app).shutdown(parts.shutdown)`.
    pub shutdown: Shutdown,
    /// Its handle.
    pub handle: ShutdownHandle,
    /// All layers.
    pub stack: Stack,
    /// The probes; the stack answers them too.
    pub health: Health,
    /// The measurements.
    #[cfg(feature = "metrics")]
    pub metrics: Metrics,
    /// The requests in flight, as the stack counts them.
    pub in_flight: InFlightHandle,
    /// The pages of an admin port.
    pub admin: AdminService,
    /// Answers in front of the stack.
    #[cfg(feature = "tonic")]
    pub(super) grpc_health: Option<super::compose::GrpcHealthService>,
}

impl Server {
    /// Binds the parts for those who wire by hand, and starts the workers.
    ///
    /// # Errors
    ///
    /// A setting is invalid, or there is no runtime.
    pub fn build(self) -> Result<Parts, ServerError> {
        Parts::new(self)
    }

    fn validate(&mut self) -> Result<(), ServerError> {
        if let Some(problem) = std::mem::take(&mut self.problems).into_iter().next() {
            return Err(ServerError::Setting(problem));
        }
        if let Some(problem) = self.problem() {
            return Err(ServerError::Setting(problem));
        }
        if self.shutdown.handle().lifecycle().healths().load(Relaxed) > 1 {
            return Err(ServerError::Setting(ONE_HEALTH.to_owned()));
        }
        bind::check_runtime()?;
        Ok(self.shutdown.check_budgets().map_err(StartError::from)?)
    }
}

impl Server {
    /// Returns the first setting that is invalid.
    fn problem(&self) -> Option<String> {
        if self.timeout == Some(Some(Duration::ZERO)) {
            return Some("timeout: zero refuses every request; `None` switches it off".to_owned());
        }
        let workers = self.worker_names.iter().map(String::as_str);
        let twice = text::twice(workers);
        let twice = twice.map(|name| format!("worker: there are two with the name {name:?}"));
        twice.or_else(|| self.shutdown.problem())
    }
}

impl Parts {
    pub(super) fn new(mut server: Server) -> Result<Self, ServerError> {
        #[cfg(feature = "metrics")]
        let mut registry = server.registry.take().unwrap_or_default();
        #[cfg(feature = "metrics")]
        let metrics =
            std::mem::replace(&mut server.metrics, Metrics::builder()).register(&mut registry);
        #[cfg(feature = "metrics")]
        let endpoint = MetricsEndpoint::of(registry);
        #[cfg(feature = "metrics")]
        if let Some(most) = server.last_scrape {
            let scraped = endpoint.scraped();
            // With the other budgets it is checked below.
            server = server.flush("metrics", most, || scraped);
        }
        if let Err(error) = server.validate() {
            // It says all that there is to say about a shutdown that no one drives.
            server.shutdown.set_taken();
            return Err(error);
        }
        let handle = server.shutdown.handle();
        #[cfg(feature = "tracing")]
        if server.logs {
            handle.listen(crate::logs::event_sink());
            if server.announces {
                handle.listen(crate::logs::without_subscriber());
            }
        }

        let workers = handle.clone();
        let health = server.health.check("workers", move || {
            let failed = workers.worker_failures();
            std::future::ready(match failed.is_empty() {
                true => Ok(()),
                false => Err(failed.join("; ")),
            })
        });
        if let Some(problem) = health.problem() {
            server.shutdown.set_taken();
            return Err(ServerError::Setting(problem));
        }
        let probes = server
            .probes
            .into_iter()
            .fold(health.layer(), |layer, change| change(layer));
        let mut stack = stack(handle.lifecycle())
            .health(probes)
            .real_ip(RealIpLayer::new(server.proxies));
        match server.timeout {
            Some(Some(time)) => stack = stack.timeout(TimeoutLayer::new(time)),
            Some(None) => stack = stack.timeout(TimeoutLayer::off()),
            None => {}
        }
        match server.body_limit {
            Some(Some(bytes)) => stack = stack.body_limit(BodyLimitLayer::new(bytes)),
            Some(None) => stack = stack.body_limit(BodyLimitLayer::off()),
            None => {}
        }
        #[cfg(feature = "rate-limit")]
        let rate_limit = server.rate_limit.map(|layer| {
            let changes = server.rate_limit_layers.into_iter();
            changes.fold(layer, |layer, change| change(layer))
        });
        #[cfg(all(feature = "rate-limit", feature = "metrics"))]
        let limited = rate_limit.as_ref().map(crate::RateLimitLayer::handle);
        #[cfg(feature = "rate-limit")]
        if let Some(layer) = rate_limit {
            stack = stack.rate_limit(layer);
        }
        #[cfg(feature = "tracing")]
        if server.access_log {
            stack = stack
                .request_id(crate::RequestIdLayer::new())
                .access_log(crate::AccessLogLayer::new());
        }
        let in_flight = stack.in_flight_handle();

        #[cfg(feature = "metrics")]
        {
            metrics.shutdown(&handle).in_flight(in_flight.clone());
            #[cfg(feature = "rate-limit")]
            if let Some(handle) = limited {
                metrics.rate_limit(handle);
            }
            stack = stack.metrics(metrics.layer());
        }
        #[cfg(feature = "status")]
        let page = StatusPage::new(&handle)
            .title(server.name)
            .in_flight(in_flight.clone());
        for change in server.layers {
            stack = change(stack);
        }
        #[cfg(feature = "tonic")]
        let grpc_health = server
            .grpc_health
            .map(|change| change(health.grpc()).server());
        let admin = AdminService::new(
            &health,
            #[cfg(feature = "metrics")]
            endpoint,
            #[cfg(feature = "status")]
            page,
            server.admin_hosts,
        );
        for start in server.workers {
            start(&handle);
        }
        Ok(Parts {
            shutdown: server.shutdown,
            handle,
            stack,
            health,
            #[cfg(feature = "metrics")]
            metrics,
            in_flight,
            admin,
            #[cfg(feature = "tonic")]
            grpc_health,
        })
    }
}
