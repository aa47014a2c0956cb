use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use pin_project::pin_project;

use crate::reply::ReplyBody;

/// The answer of a [`RealIp`](super::RealIp) service: the inner service's, or the refusal at once.
#[pin_project]
pub struct RealIpFuture<F> {
    #[pin]
    answer: Answer<F>,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Passed(#[pin] F),
    Refused(Option<Response<Bytes>>),
}

impl<F> RealIpFuture<F> {
    pub(super) fn passed(future: F) -> Self {
        RealIpFuture {
            answer: Answer::Passed(future),
        }
    }

    pub(super) fn refused(refusal: Response<Bytes>) -> Self {
        RealIpFuture {
            answer: Answer::Refused(Some(refusal)),
        }
    }
}

impl<F, B, E> Future for RealIpFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplyBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            Projected::Passed(future) => future.poll(cx).map_ok(ReplyBody::service),
            Projected::Refused(refusal) => {
                let refusal = refusal.take().expect("polled after it was ready");
                Poll::Ready(Ok(ReplyBody::refusal(refusal)))
            }
        }
    }
}

impl<F> fmt::Debug for RealIpFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealIpFuture").finish_non_exhaustive()
    }
}
