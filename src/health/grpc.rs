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

/// The gRPC health protocol (`grpc.health.v1.Health`), by readiness. Made by [`Health::grpc`].
///
/// The process as a whole (`""`) and every service that was [named](Self::service) are `SERVING` while
/// readiness is 200, else `NOT_SERVING`. Another service is NOT_FOUND to `Check`, and to `Watch`
/// `SERVICE_UNKNOWN`.
///
/// A `Watch` tells its status at once and whenever it changes: with the phase, with each run of the checks
/// that anything asked for, and with those that it asks for itself every
/// [`recheck`](Self::recheck). It says `NOT_SERVING` from the first moment of the lame-duck phase and ends
/// (OK) when [`Phase::Draining`] begins, so that it does not hold up the drain. Not before: a client whose
/// `Watch` ends is bound to open the next one.
///
/// On [`serve`](crate::serve()) a `Watch` is free of the `write` deadline (unless the server runs
/// `without_extensions`), not of `write_stall`. No details of the checks are told.
#[derive(Clone, Debug)]
pub struct GrpcHealth {
    health: Health,
    services: Vec<String>,
    recheck: Duration,
}

impl Health {
    /// This process's health for gRPC clients; [`server`](GrpcHealth::server) makes the service that
    /// tonic takes.
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
    /// Answers for this service, too, by its full name: `helloworld.Greeter`.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.services.push(name.into());
        self
    }

    /// Answers for this tonic server, too: `.service_of::<GreeterServer<MyGreeter>>()`.
    #[must_use]
    pub fn service_of<S: NamedService>(self) -> Self {
        self.service(S::NAME)
    }

    /// How often a `Watch` asks the checks again; without checks it never does. Results that are still
    /// cached are taken, and watches share a run. Default: 5 s; at least 1 s, at most a day.
    #[must_use]
    pub fn recheck(mut self, every: Duration) -> Self {
        self.recheck = every.clamp(Duration::from_secs(1), Duration::from_secs(24 * 3600));
        self
    }

    /// The service, for `add_service` of tonic's server, or for `Routes`.
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
            return Err(tonic::Status::not_found("no such service here"));
        }
        let ok = self.health.readiness_report().await.is_ok();
        Ok(Response::new(response(serving(ok))))
    }

    type WatchStream = WatchStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<WatchStream>, tonic::Status> {
        // A watch has no end of its own, and a client whose watch breaks holds this server for broken. The
        // one look upstairs of this room: only the server knows its deadlines.
        #[cfg(feature = "serve")]
        if let Some(deadlines) = request.extensions().get::<crate::deadlines::Deadlines>() {
            deadlines.set_write(None);
        }
        let watcher = Watcher {
            known: self.knows(&request.get_ref().service),
            health: self.health.clone(),
            recheck: self.recheck,
            told: None,
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

/// One client's watch.
struct Watcher {
    known: bool,
    health: Health,
    recheck: Duration,
    told: Option<ServingStatus>,
    /// When the checks are to be asked next.
    due: Instant,
}

impl Watcher {
    /// The next status that differs from the last one told; `None`: the watch is over.
    async fn next(mut self) -> Option<(ServingStatus, Watcher)> {
        let lifecycle = self.health.shared.lifecycle.clone();
        let runner = self.health.shared.runner.clone();
        loop {
            // Enrolled before anything is looked at: what moves in between is not missed. A run of its own
            // wakes it once more, for a look; only `due` begins the next one.
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
            if phase >= Phase::Draining && self.told == Some(status) {
                return None;
            }
            if self.told != Some(status) {
                self.told = Some(status);
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

/// The phase whose beginning may change what a watch says.
fn after(phase: Phase) -> Phase {
    match phase {
        Phase::Starting => Phase::Ready,
        Phase::Ready => Phase::LameDuck,
        Phase::LameDuck | Phase::Draining | Phase::Closed => Phase::Draining,
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(ServingStatus, Watcher)>> + Send>>;

/// The messages of one `Watch`, to the drain.
pub struct WatchStream {
    /// `None`: over.
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
