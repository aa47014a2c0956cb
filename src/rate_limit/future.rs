use std::fmt;
use std::pin::Pin;
#[cfg(feature = "redis")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

#[cfg(feature = "redis")]
use super::decision::Decision;
use super::shared::QuotaReport;
#[cfg(feature = "redis")]
use super::shared::Shared;
use crate::reply::ReplyBody;

/// The response future of a [`RateLimit`](super::RateLimit) service: the inner service's response, or an immediate
/// refusal.
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
        /// The content of the response's fields, if there is to be any.
        report: Option<QuotaReport>,
    },
    Refused(Option<Response<Bytes>>),
    /// Boxed, because it holds the request and the service: the allocation is negligible beside a round trip to Redis,
    /// and it keeps the future small where Redis is not used.
    #[cfg(feature = "redis")]
    Asking(Option<Box<Asking<S, B>>>),
}

impl<S: Service<Request<B>>, B> RateLimitFuture<S, B> {
    pub(super) fn passed(future: S::Future, report: Option<QuotaReport>) -> Self {
        RateLimitFuture {
            answer: Answer::Passed { future, report },
        }
    }

    pub(super) fn refused(refusal: Response<Bytes>) -> Self {
        RateLimitFuture {
            answer: Answer::Refused(Some(refusal)),
        }
    }

    #[cfg(feature = "redis")]
    pub(super) fn asking(asking: Asking<S, B>) -> Self {
        RateLimitFuture {
            answer: Answer::Asking(Some(Box::new(asking))),
        }
    }
}

/// A request that waits for Redis, with the service that was made ready for it.
#[cfg(feature = "redis")]
pub(super) struct Asking<S, B> {
    pub check: super::redis::Check,
    pub key: super::Key,
    pub shared: Arc<Shared>,
    pub service: S,
    pub request: Request<B>,
}

#[cfg(feature = "redis")]
impl<S: Service<Request<B>>, B> Asking<S, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decision> {
        let decision = ready!(Pin::new(&mut self.check).poll(cx));
        let shared = &self.shared;
        Poll::Ready(decision.unwrap_or_else(|| shared.decide(&self.key, shared.clock.now())))
    }

    fn go_on(mut self, decision: Decision) -> Answer<S, B> {
        if decision.admitted {
            Answer::Passed {
                future: self.service.call(self.request),
                report: self.shared.report(decision),
            }
        } else {
            Answer::Refused(Some(self.shared.refuse(&decision, &mut self.request)))
        }
    }
}

impl<S, ReqB, ResB> Future for RateLimitFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Output = Result<Response<ReplyBody<ResB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        #[cfg_attr(not(feature = "redis"), allow(unused_mut))]
        let mut answer = self.project().answer;
        #[cfg(feature = "redis")]
        if let Projected::Asking(waiting) = answer.as_mut().project() {
            let asking = waiting.as_mut().expect("polled after a panic");
            let decision = ready!(asking.poll(cx));
            let asking = waiting.take().expect("it was polled");
            answer.set(asking.go_on(decision));
        }
        match answer.project() {
            Projected::Passed { future, report } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some((shared, decision)) = report.take() {
                    shared.add_fields(response.headers_mut(), &decision);
                }
                Poll::Ready(Ok(ReplyBody::service(response)))
            }
            Projected::Refused(refusal) => {
                let refusal = refusal.take().expect("polled after it was ready");
                Poll::Ready(Ok(ReplyBody::refusal(refusal)))
            }
            // Handled above.
            #[cfg(feature = "redis")]
            Projected::Asking(_) => Poll::Pending,
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for RateLimitFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitFuture").finish_non_exhaustive()
    }
}
