use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::line::Line;
use super::shared::Shared;
use super::{AccessLogBody, AccessLogFuture};
use crate::grpc;

/// The service produced by [`AccessLogLayer`](super::AccessLogLayer).
#[derive(Clone)]
pub struct AccessLog<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for AccessLog<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body,
{
    type Response = Response<AccessLogBody<ResB>>;
    type Error = S::Error;
    type Future = AccessLogFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // Must precede the inner call: a service may do its work there.
        let is_grpc = grpc::is_call(request.method(), request.headers());
        let mut line = Shared::line(self.shared.as_deref(), &request, is_grpc);
        let head = request.method() == Method::HEAD;
        let inner = Line::guarded(&mut line, || self.inner.call(request));
        AccessLogFuture::new(inner, line, head)
    }
}

impl<S: fmt::Debug> fmt::Debug for AccessLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for AccessLog<S> {
    const NAME: &'static str = S::NAME;
}
