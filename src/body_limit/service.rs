use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::admit::{Admission, admit};
use super::shared::Shared;
use super::{BodyLimitBody, BodyLimitFuture};
use crate::reply::ReplyBody;
use crate::served::Subject;

/// The service that [`BodyLimitLayer`](super::BodyLimitLayer) makes.
#[derive(Clone)]
pub struct BodyLimit<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for BodyLimit<S>
where
    S: Service<Request<BodyLimitBody<ReqB>>, Response = Response<ResB>>,
    ReqB: Body<Data = Bytes>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = BodyLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let mut own = None;
        if let (Some(_), Some(per_request)) = (self.shared.limit, &self.shared.per_request) {
            // Only a head in parts can be shown without the body.
            let (head, body) = request.into_parts();
            own = per_request(&head);
            request = Request::from_parts(head, body);
        }
        let mut limit = None;
        if !request.body().is_end_stream() {
            limit = self.shared.limit_of(own, &request);
        }
        let Some(limit) = limit else {
            let request = request.map(BodyLimitBody::unlimited);
            return BodyLimitFuture::passed(self.inner.call(request), None);
        };
        let subject = Subject::of(&mut request, &self.shared.events, false);
        let reply = (self.shared.limit == Some(limit)).then_some(&self.shared.reply);
        match admit(request, limit, reply, &self.shared.events, subject, true) {
            Admission::Passed(request, watch) => {
                BodyLimitFuture::passed(self.inner.call(request), watch)
            }
            Admission::Refused(refusal) => BodyLimitFuture::refused(refusal),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for BodyLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimit")
            .field("inner", &self.inner)
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for BodyLimit<S> {
    const NAME: &'static str = S::NAME;
}
