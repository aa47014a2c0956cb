use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::answer::{HealthAnswer, Probe};
use super::shared::Shared;
use super::{Health, HealthFuture};
use crate::reply::ReplyBody;

/// The service that [`HealthLayer`](super::HealthLayer) makes.
#[derive(Clone)]
pub struct HealthRoutes<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for HealthRoutes<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = HealthFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        if let Some(shared) = &self.shared {
            if let Some(probe) = shared.probe(request.uri().path()) {
                return HealthFuture::answered(probe.answer(&shared.health, request));
            }
        }
        HealthFuture::passed(self.inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for HealthRoutes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRoutes")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish()
    }
}

/// Answers one probe, whatever the path: for a router of your own, or a port of its own. Made by
/// [`Health::liveness`], [`Health::readiness`] and [`Health::startup`].
#[derive(Clone, Debug)]
pub struct HealthService {
    health: Health,
    probe: Probe,
}

impl Health {
    /// A service that says whether the process lives: 200 for as long as it can answer, whatever the
    /// phase and the dependencies.
    pub fn liveness(&self) -> HealthService {
        HealthService::new(self.clone(), Probe::Liveness)
    }

    /// A service that says whether the process is to get traffic: 200 in [`Phase::Ready`] while no
    /// required check fails, else 503.
    pub fn readiness(&self) -> HealthService {
        HealthService::new(self.clone(), Probe::Readiness)
    }

    /// A service that says whether start-up is done: 503 until [`Phase::Ready`] has been reached, 200 for
    /// ever after.
    pub fn startup(&self) -> HealthService {
        HealthService::new(self.clone(), Probe::Startup)
    }
}

impl HealthService {
    pub(super) fn new(health: Health, probe: Probe) -> Self {
        HealthService { health, probe }
    }
}

impl<B> Service<Request<B>> for HealthService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = HealthAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> HealthAnswer {
        HealthAnswer {
            pending: self.probe.answer(&self.health, request),
        }
    }
}
