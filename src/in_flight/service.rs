use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::registry::Registry;
use super::{InFlightBody, InFlightFuture};
use crate::grpc;

/// The service produced by [`InFlightLayer`](super::InFlightLayer).
#[derive(Clone)]
pub struct InFlight<S> {
    pub(super) inner: S,
    /// `None` if the layer is off.
    pub(super) registry: Option<Arc<Registry>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for InFlight<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body,
{
    type Response = Response<InFlightBody<ResB>>;
    type Error = S::Error;
    type Future = InFlightFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // Must precede the inner call: a service may do its work there.
        let guard = self.registry.as_ref().map(|registry| {
            let is_grpc = grpc::is_call(request.method(), request.headers());
            Registry::enter(registry, &request, is_grpc)
        });
        let head = request.method() == Method::HEAD;
        InFlightFuture::new(self.inner.call(request), guard, head)
    }
}

impl<S: fmt::Debug> fmt::Debug for InFlight<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for InFlight<S> {
    const NAME: &'static str = S::NAME;
}
