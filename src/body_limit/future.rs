use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use pin_project::pin_project;

use super::body::Over;
use crate::reply::{RefusalReason, ReplyBody, ReplyFormat};

/// The response future of a [`BodyLimit`](super::BodyLimit) service: the inner service's response, or the refusal.
#[pin_project]
pub struct BodyLimitFuture<F> {
    #[pin]
    answer: Answer<F>,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Passed {
        #[pin]
        future: F,
        watch: Option<Watch>,
    },
    Refused(Response<Bytes>),
    Given,
}

/// The state needed if the body runs over its limit.
pub(crate) struct Watch {
    pub(super) over: Over,
    pub(super) format: ReplyFormat,
}

impl Watch {
    /// Returns `true` if the response must be a refusal: the body ran over, or declares that it would, and no route's
    /// own layer has taken over.
    fn refuses(&self) -> bool {
        if self.over.is_declared() && !self.over.is_taken_over() {
            self.over.set();
        }
        self.over.is_set()
    }
}

impl<F> BodyLimitFuture<F> {
    pub(crate) fn passed(future: F, watch: Option<Watch>) -> Self {
        BodyLimitFuture {
            answer: Answer::Passed { future, watch },
        }
    }

    pub(crate) fn refused(refusal: Response<Bytes>) -> Self {
        BodyLimitFuture {
            answer: Answer::Refused(refusal),
        }
    }
}

impl<F, B, E> Future for BodyLimitFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplyBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.project().answer;
        let given = match answer.as_mut().project() {
            Projected::Passed { future, watch } => {
                let given = ready!(future.poll(cx));
                match watch.take() {
                    Some(watch) if watch.refuses() => watch.answer(given),
                    _ => given.map(ReplyBody::service),
                }
            }
            Projected::Refused(refusal) => Ok(ReplyBody::refusal(std::mem::take(refusal))),
            Projected::Given => panic!("polled after it was ready"),
        };
        answer.set(Answer::Given);
        Poll::Ready(given)
    }
}

impl Watch {
    /// Returns the response for a client whose body was over the limit, instead of the `given` one.
    fn answer<B, E>(self, given: Result<Response<B>, E>) -> Result<Response<ReplyBody<B>>, E> {
        let reply = self.over.reply();
        let refusal = match given {
            // One that declared its length is refused as before the handler, which a route might have taken it to.
            Ok(own)
                if own.status() == RefusalReason::BodyTooLarge.status()
                    && !self.over.is_declared() =>
            {
                let refusal = reply.answer(self.format, HeaderMap::new());
                // The handler's own is as good; but to a gRPC client, which is refused with 200, it has no meaning.
                if own.status() == refusal.status() {
                    return Ok(ReplyBody::service(own));
                }
                refusal
            }
            Ok(other) => reply.answer(self.format, other.into_parts().0.headers),
            Err(_) => reply.answer(self.format, HeaderMap::new()),
        };
        Ok(ReplyBody::refusal(refusal))
    }
}

impl<F> fmt::Debug for BodyLimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimitFuture").finish_non_exhaustive()
    }
}
