use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::{Body, SizeHint};
use tower_service::Service;

use super::body::Over;
use super::future::Watch;
use super::shared::Shared;
use super::{BodyLimitBody, BodyLimitFuture};
use crate::reply::{Asked, Reason, Reply, ReplyBody};

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
        let limit = self.shared.limit_of(own, request.extensions());
        let mut watch = None;
        if let Some(limit) = limit {
            let hint = request.body().size_hint();
            if is_over(&hint, request.headers(), limit) {
                self.shared.tell_refused(&self.shared.subject(&request));
                let asked = Asked::of(&request);
                let headers = request.into_parts().0.headers;
                return BodyLimitFuture::refused(
                    Reply::new(Reason::BodyTooLarge).answer(asked, headers),
                );
            }
            // A body that says where it ends is believed as far as this; it is counted all the same.
            if hint.upper().is_none_or(|upper| upper > limit) && !request.body().is_end_stream() {
                watch = Some(Watch {
                    over: Over::new(self.shared.clone(), self.shared.subject(&request)),
                    asked: Asked::of(&request),
                });
            }
        }
        let over = watch.as_ref().map(|watch| watch.over.clone());
        let request = request.map(|body| BodyLimitBody::new(body, limit, over));
        BodyLimitFuture::passed(self.inner.call(request), watch)
    }
}

fn is_over(hint: &SizeHint, headers: &HeaderMap, limit: u64) -> bool {
    hint.lower() > limit
        || headers
            .get_all(header::CONTENT_LENGTH)
            .iter()
            .any(|length| says_more_than(length.as_bytes(), limit))
}

/// Whether it is a number and over the limit; one that is no number is the server's to refuse.
fn says_more_than(length: &[u8], limit: u64) -> bool {
    // A number too large for 64 bits is over any limit.
    length.iter().all(u8::is_ascii_digit)
        && length.iter().fold(0_u64, |sum, digit| {
            let digit = u64::from(digit - b'0');
            sum.saturating_mul(10).saturating_add(digit)
        }) > limit
}

impl<S: fmt::Debug> fmt::Debug for BodyLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimit")
            .field("inner", &self.inner)
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}
