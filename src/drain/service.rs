use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::DrainFuture;
use super::shared::Shared;
use crate::reply::ReplyBody;

/// The service produced by [`DrainLayer`](super::DrainLayer).
#[derive(Clone)]
pub struct Drain<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Drain<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        if let Some(shared) = &self.shared {
            if shared.drains() {
                // Moved aside, because it is rare: a request that is lent is copied once more on its way.
                let mut late = request;
                if let Some(refusal) = shared.refuse(&mut late) {
                    return DrainFuture::refused(refusal);
                }
                request = late;
            }
            shared.extend(&mut request);
        }
        DrainFuture::passed(self.inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for Drain<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Drain<S> {
    const NAME: &'static str = S::NAME;
}
