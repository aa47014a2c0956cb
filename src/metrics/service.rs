use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::guard::Running;
use super::shared::Shared;
use super::{MetricsBody, MetricsFuture};
use crate::grpc;

/// The service produced by [`MetricsLayer`](super::MetricsLayer).
#[derive(Clone)]
pub struct MetricsService<S> {
    pub(super) inner: S,
    /// `None` if the layer is off.
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for MetricsService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body,
{
    type Response = Response<MetricsBody<ResB>>;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(shared) = &self.shared else {
            return MetricsFuture::new(self.inner.call(request), None);
        };
        let is_grpc = grpc::is_call(request.method(), request.headers());
        let mut running = Running::begin(shared, &mut request, is_grpc);
        // A service may do its work in the call, and may panic there.
        let future = running.guarded(|| self.inner.call(request));
        MetricsFuture::new(future, Some(running))
    }
}

impl<S: fmt::Debug> fmt::Debug for MetricsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for MetricsService<S> {
    const NAME: &'static str = S::NAME;
}
