use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

use super::decision::Decision;
use super::shared::Shared;
use crate::reply::ReplyBody;

/// The answer of a [`RateLimit`](super::RateLimit) service: the inner service's, or the refusal at once.
#[pin_project]
pub struct RateLimitFuture<S: Service<Request<B>>, B> {
    #[pin]
    answer: Answer<S, B>,
}

#[pin_project(project = Projected)]
enum Answer<S: Service<Request<B>>, B> {
    Passed {
        #[pin]
        future: S::Future,
        /// What the answer's fields are to say, if they are to say anything.
        told: Option<Told>,
    },
    Refused(Option<Response<Bytes>>),
}

pub(super) type Told = (Arc<Shared>, Decision);

impl<S: Service<Request<B>>, B> RateLimitFuture<S, B> {
    pub(super) fn passed(future: S::Future, told: Option<Told>) -> Self {
        RateLimitFuture {
            answer: Answer::Passed { future, told },
        }
    }

    pub(super) fn refused(refusal: Response<Bytes>) -> Self {
        RateLimitFuture {
            answer: Answer::Refused(Some(refusal)),
        }
    }
}

impl<S, ReqB, ResB> Future for RateLimitFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Output = Result<Response<ReplyBody<ResB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            Projected::Passed { future, told } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some((shared, decision)) = told.take() {
                    shared.tell(response.headers_mut(), &decision);
                }
                Poll::Ready(Ok(ReplyBody::service(response)))
            }
            Projected::Refused(refusal) => {
                let refusal = refusal.take().expect("polled after it was ready");
                Poll::Ready(Ok(ReplyBody::refusal(refusal)))
            }
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for RateLimitFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitFuture").finish_non_exhaustive()
    }
}
