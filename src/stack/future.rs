use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::StackBody;
use super::inner::InnerBody;
use super::passage::Passage;
use crate::error::BoxError;
use crate::health::Pending;
use crate::reply::ReplyBody;

/// The response future of a [`Stacked`](super::Stacked) service.
#[pin_project]
pub struct StackFuture<F> {
    #[pin]
    answer: Answer<F>,
    passage: Passage,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Passed(#[pin] F),
    Refused(Option<Response<Bytes>>),
    Probe(Pending),
}

impl<F> StackFuture<F> {
    pub(super) fn passed(inner: F, passage: Passage) -> Self {
        StackFuture {
            answer: Answer::Passed(inner),
            passage,
        }
    }

    pub(super) fn refused(refusal: Response<Bytes>, passage: Passage) -> Self {
        StackFuture {
            answer: Answer::Refused(Some(refusal)),
            passage,
        }
    }

    /// Answers a probe, which no layer but the outermost sees.
    pub(super) fn probe(answer: Pending) -> Self {
        StackFuture {
            answer: Answer::Probe(answer),
            passage: Passage::new(false),
        }
    }
}

impl<F, B, E> Future for StackFuture<F>
where
    F: Future<Output = Result<Response<InnerBody<B>>, E>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Output = Result<Response<StackBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.answer.project() {
            Projected::Passed(inner) => match ready!(this.passage.guarded(|| inner.poll(cx))) {
                Ok(response) => ReplyBody::service(response),
                Err(error) => {
                    this.passage.fail();
                    return Poll::Ready(Err(error));
                }
            },
            Projected::Refused(refusal) => {
                ReplyBody::refusal(refusal.take().expect("polled after it was ready"))
            }
            Projected::Probe(answer) => ReplyBody::refusal(ready!(answer.poll(cx))),
        };
        Poll::Ready(Ok(this.passage.leave(response).map(StackBody)))
    }
}

impl<F> fmt::Debug for StackFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackFuture").finish_non_exhaustive()
    }
}
