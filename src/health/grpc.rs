use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::tokio_stream::Stream;
use tonic::server::NamedService;
use tonic::{Request, Response};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::Health;
use crate::phase::Phase;

/// The gRPC health protocol (`grpc.health.v1.Health`), based on readiness. Created by [`Health::grpc`].
///
/// The process as a whole (`""`) and every [named](Self::service) service are `SERVING` while readiness is 200, else
/// `NOT_SERVING`. For any other service `Check` returns NOT_FOUND and `Watch` sends `SERVICE_UNKNOWN`.
///
/// A `Watch` sends its status at once and whenever it changes: with the phase, with each run of the checks, and with
/// the runs that it requests itself every [`recheck`](Self::recheck). It sends `NOT_SERVING` at the start of the
/// lame-duck phase and ends (OK) when [`Phase::Draining`] begins, so that it does not hold up the drain. It does not
/// end earlier: a client whose `Watch` ends is bound to open the next one.
///
/// On [`serve`](crate::serve()) a `Watch` has no `write` deadline (unless the server runs `without_extensions`), but it
/// has `write_stall`. Details of the checks are never sent.
#[derive(Clone, Debug)]
pub struct GrpcHealth {
    health: Health,
    services: Vec<String>,
    recheck: Duration,
}

impl Health {
    /// Returns this process's health for gRPC clients. [`server`](GrpcHealth::server) turns it into a tonic service.
    ///
    /// ```
    /// # use lameduck::{Lifecycle, health::Health};
    /// let health = Health::new(&Lifecycle::new());
    /// let service = health.grpc().service("helloworld.Greeter").server();
    /// let routes = tonic::service::Routes::new(service);
    /// ```
    pub fn grpc(&self) -> GrpcHealth {
        GrpcHealth {
            health: self.clone(),
            services: Vec::new(),
            recheck: Duration::from_secs(5),
        }
    }
}

impl GrpcHealth {
    /// Adds a service by its full name: `helloworld.Greeter`.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.services.push(name.into());
        self
    }

    /// Adds a service by its tonic server type: `.service_of::<GreeterServer<MyGreeter>>()`.
    #[must_use]
    pub fn service_of<S: NamedService>(self) -> Self {
        self.service(S::NAME)
    }

    /// Sets the interval at which a `Watch` runs the checks again; without checks it never does. Cached results are
    /// used while they are fresh, and watches share a run. Default: 5 s; at least 1 s, at most a day.
    #[must_use]
    pub fn recheck(mut self, every: Duration) -> Self {
        self.recheck = every.clamp(Duration::from_secs(1), Duration::from_secs(24 * 3600));
        self
    }

    /// Returns the service, for `add_service` of tonic's server or for `Routes`.
    pub fn server(self) -> HealthServer<GrpcHealth> {
        HealthServer::new(self)
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.iter().any(|name| name == service)
    }
}

#[tonic::async_trait]
impl health_server::Health for GrpcHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, tonic::Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(tonic::Status::not_found("unknown service"));
        }
        let ok = self.health.readiness_report().await.is_ok();
        Ok(Response::new(response(serving(ok))))
    }

    type WatchStream = WatchStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<WatchStream>, tonic::Status> {
        // A watch is endless, and a client whose watch breaks takes this server for broken. Only the server knows its
        // deadlines, so this layer alone reaches up to it.
        #[cfg(feature = "serve")]
        if let Some(deadlines) = request.extensions().get::<crate::deadlines::Deadlines>() {
            deadlines.set_write(None);
        }
        let watcher = Watcher {
            known: self.knows(&request.get_ref().service),
            health: self.health.clone(),
            recheck: self.recheck,
            sent: None,
            due: Instant::now(),
        };
        Ok(Response::new(WatchStream {
            next: Some(Box::pin(watcher.next())),
        }))
    }
}

fn serving(ok: bool) -> ServingStatus {
    match ok {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

/// A watch by one client.
struct Watcher {
    known: bool,
    health: Health,
    recheck: Duration,
    sent: Option<ServingStatus>,
    /// The time of the next run of the checks.
    due: Instant,
}

impl Watcher {
    /// Returns the next status that differs from the last one sent; `None` at the end of the watch.
    async fn next(mut self) -> Option<(ServingStatus, Watcher)> {
        let lifecycle = self.health.shared.lifecycle.clone();
        let runner = self.health.shared.runner.clone();
        loop {
            // Enabled before any state is read, so that no change in between is missed. A run requested by this watch
            // wakes it once more, which is harmless; only `due` begins the next run.
            let mut ended = pin!(runner.ended());
            ended.as_mut().enable();
            let phase = lifecycle.phase();
            let asks = self.known && phase == Phase::Ready && runner.has_checks();

            if asks && self.due <= Instant::now() {
                self.health.readiness_report().await;
                self.due = Instant::now() + self.recheck;
            }
            let status = match self.known {
                true => serving(self.health.readiness_by(runner.last()).is_ok()),
                false => ServingStatus::ServiceUnknown,
            };
            if phase >= Phase::Draining && self.sent == Some(status) {
                return None;
            }
            if self.sent != Some(status) {
                self.sent = Some(status);
                return Some((status, self));
            }

            let due = async {
                match asks {
                    true => tokio::time::sleep_until(self.due).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = lifecycle.reached(after(phase)) => {}
                () = ended.as_mut(), if asks => {}
                () = due => {}
            }
        }
    }
}

/// Returns the next phase whose beginning may change the status.
fn after(phase: Phase) -> Phase {
    match phase {
        Phase::Starting => Phase::Ready,
        Phase::Ready => Phase::LameDuck,
        Phase::LameDuck | Phase::Draining | Phase::Closed => Phase::Draining,
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(ServingStatus, Watcher)>> + Send>>;

/// The messages of one `Watch`, up to the drain.
pub struct WatchStream {
    /// `None` once the watch is over.
    next: Option<Next>,
}

impl Stream for WatchStream {
    type Item = Result<HealthCheckResponse, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        match next.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.next = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((status, watcher))) => {
                self.next = Some(Box::pin(watcher.next()));
                Poll::Ready(Some(Ok(response(status))))
            }
        }
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").finish_non_exhaustive()
    }
}
