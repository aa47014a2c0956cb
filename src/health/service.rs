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

/// The service produced by [`HealthLayer`](super::HealthLayer).
#[derive(Clone)]
pub struct HealthService<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for HealthService<S>
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

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        match Shared::answer(self.shared.as_deref(), &mut request) {
            Some(answer) => HealthFuture::answered(answer),
            None => HealthFuture::passed(self.inner.call(request)),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for HealthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthService")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish()
    }
}

/// A service that answers one probe, whatever the path: for your own router, or for a port of its own. Created by
/// [`Health::liveness`], [`Health::readiness`] and [`Health::startup`].
#[derive(Clone, Debug)]
pub struct HealthEndpoint {
    health: Health,
    probe: Probe,
}

impl Health {
    /// Returns the liveness service: 200 as long as the process can respond, whatever its phase and dependencies.
    pub fn liveness(&self) -> HealthEndpoint {
        HealthEndpoint::new(self.clone(), Probe::Liveness)
    }

    /// Returns the readiness service: 200 in [`Phase::Ready`](crate::Phase::Ready) while no required check fails, else
    /// 503.
    pub fn readiness(&self) -> HealthEndpoint {
        HealthEndpoint::new(self.clone(), Probe::Readiness)
    }

    /// Returns the start-up service: 503 until [`Phase::Ready`](crate::Phase::Ready) is reached, 200 from then on.
    pub fn startup(&self) -> HealthEndpoint {
        HealthEndpoint::new(self.clone(), Probe::Startup)
    }
}

impl HealthEndpoint {
    pub(super) fn new(health: Health, probe: Probe) -> Self {
        HealthEndpoint { health, probe }
    }
}

impl<B> Service<Request<B>> for HealthEndpoint {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = HealthAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> HealthAnswer {
        HealthAnswer {
            pending: self.probe.answer(&self.health, &mut request),
        }
    }
}
