use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::CatchPanicFuture;
use super::future::Watch;
use super::shared::Shared;
use crate::reply::{ReplyBody, ReplyFormat};
use crate::served::Subject;

/// The service that [`CatchPanicLayer`](super::CatchPanicLayer) makes.
#[derive(Clone, Debug)]
pub struct CatchPanic<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for CatchPanic<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(shared) = &self.shared else {
            return CatchPanicFuture::new(self.inner.call(request), None);
        };
        let watch = Watch {
            format: ReplyFormat::of(&request),
            subject: Subject::of(&mut request, &shared.events, false),
            shared: shared.clone(),
        };
        // A service may do its work in the call. Unwind safe: the service is the user's, and a panic in a handler
        // leaves it to be called again, as a panic of a task does.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => CatchPanicFuture::new(future, Some(watch)),
            Err(panic) => CatchPanicFuture::panicked(watch.answer(&*panic)),
        }
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for CatchPanic<S> {
    const NAME: &'static str = S::NAME;
}
