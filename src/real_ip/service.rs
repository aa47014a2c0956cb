use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::RealIpFuture;
use super::shared::Shared;
use crate::reply::ReplyBody;

/// The service produced by [`RealIpLayer`](super::RealIpLayer).
#[derive(Clone, Debug)]
pub struct RealIp<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RealIp<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = RealIpFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let shared = self.shared.as_ref();
        match shared.and_then(|shared| shared.resolve(&mut request)) {
            Some(refusal) => RealIpFuture::refused(refusal),
            None => RealIpFuture::passed(self.inner.call(request)),
        }
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for RealIp<S> {
    const NAME: &'static str = S::NAME;
}
