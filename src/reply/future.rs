use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use pin_project::pin_project;

use super::ReplyBody;

/// The response future of a layer that refuses a request, or passes it on, before it has called the service: an
/// immediate refusal, or the service's response.
#[pin_project]
pub struct ReplyFuture<F> {
    #[pin]
    answer: Answer<F>,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Passed(#[pin] F),
    Refused(Option<Response<Bytes>>),
}

impl<F> ReplyFuture<F> {
    pub(crate) fn passed(future: F) -> Self {
        ReplyFuture {
            answer: Answer::Passed(future),
        }
    }

    pub(crate) fn refused(refusal: Response<Bytes>) -> Self {
        ReplyFuture {
            answer: Answer::Refused(Some(refusal)),
        }
    }
}

impl<F, B, E> Future for ReplyFuture<F>
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

impl<F> fmt::Debug for ReplyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyFuture").finish_non_exhaustive()
    }
}
