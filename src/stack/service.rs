use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::inner::{Inner, InnerBody};
use super::passage::Passage;
use super::{StackBody, StackFuture};
#[cfg(feature = "tracing")]
use crate::access_log::AccessLogLayer;
use crate::body_limit::BodyLimitBody;
use crate::drain::DrainLayer;
use crate::error::BoxError;
use crate::grpc;
use crate::health::HealthLayer;
use crate::in_flight::InFlightLayer;
#[cfg(feature = "metrics")]
use crate::metrics::MetricsLayer;
use crate::real_ip::RealIpLayer;
use crate::request_id::RequestIdLayer;

/// The outer layers. They act here one after the other rather than as services around each other: a layer around a
/// service moves its future, the response and the response's body once more, even if it is off.
pub(super) struct Outer {
    pub health: HealthLayer,
    #[cfg(feature = "metrics")]
    pub metrics: MetricsLayer,
    pub request_id: RequestIdLayer,
    pub real_ip: RealIpLayer,
    #[cfg(feature = "tracing")]
    pub access_log: AccessLogLayer,
    pub in_flight: InFlightLayer,
    pub drain: DrainLayer,
}

impl Outer {
    /// Takes a request through the layers. Returns the refusal of one that does not pass.
    fn enter<B>(&self, request: &mut Request<B>, passage: &mut Passage) -> Option<Response<Bytes>> {
        // No layer changes what it depends on.
        let is_grpc = grpc::is_call(request.method(), request.headers());
        #[cfg(feature = "metrics")]
        if let Some(running) = self.metrics.begin(request, is_grpc) {
            passage.measure(running);
        }
        if let Some(id) = self.request_id.identify(request) {
            passage.identify(id);
        }
        let refusal = self.real_ip.resolve(request);
        if refusal.is_some() {
            return refusal;
        }
        #[cfg(feature = "tracing")]
        if let Some(line) = self.access_log.line(request, is_grpc) {
            passage.log(line);
        }
        passage.in_flight = self.in_flight.enter(request, is_grpc);
        self.drain.admit(request)
    }
}

/// A service within a [`Stack`](super::Stack).
///
/// It answers requests if the service takes a [`BodyLimitBody`] for their body, as those of axum, tonic and warp do,
/// and as one does that is generic over it.
#[derive(Clone)]
pub struct Stacked<S> {
    pub(super) inner: Inner<S>,
    pub(super) outer: Arc<Outer>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Stacked<S>
where
    Inner<S>: Service<Request<ReqB>, Response = Response<InnerBody<ResB>>>,
    S: Service<Request<BodyLimitBody<ReqB>>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Response = Response<StackBody<ResB>>;
    type Error = <Inner<S> as Service<Request<ReqB>>>::Error;
    type Future = StackFuture<<Inner<S> as Service<Request<ReqB>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        if let Some(answer) = self.outer.health.answer(&mut request) {
            return StackFuture::probe(answer);
        }
        let mut passage = Passage::new(request.method() == Method::HEAD);
        match self.outer.enter(&mut request, &mut passage) {
            Some(refusal) => StackFuture::refused(refusal, passage.rest()),
            None => {
                // A service may do its work in the call, and may panic there.
                let inner = self.inner.call(request);
                StackFuture::passed(inner, passage.rest())
            }
        }
    }
}

impl<S> fmt::Debug for Stacked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stacked").finish_non_exhaustive()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Stacked<S> {
    const NAME: &'static str = S::NAME;
}
