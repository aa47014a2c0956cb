use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::shared::Shared;
use super::{DrainFuture, Draining};
use crate::phase::Phase;
use crate::reply::{ReplyBody, ReplyFormat};
use crate::served::is_admitted;

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
        let Some(shared) = &self.shared else {
            return DrainFuture::passed(self.inner.call(request));
        };
        if shared.lifecycle.phase() >= Phase::Draining {
            let (head, body) = request.into_parts();
            let exempt = shared.exempt.as_ref().is_some_and(|exempt| exempt(&head));
            if !exempt && !is_admitted(&head.extensions) {
                shared.emit_refusal(&head);
                let format = ReplyFormat::head(&head.method, head.version, &head.headers);
                return DrainFuture::refused(shared.reply.answer(format, head.headers));
            }
            request = Request::from_parts(head, body);
        }
        if shared.extension {
            request
                .extensions_mut()
                .insert(Draining::from(shared.lifecycle.clone()));
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
