use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::TimeoutBody;
use super::terms::Terms;

/// The response future of a [`Timeout`](super::Timeout) service: the inner service's response, or the refusal when the
/// time is over.
#[pin_project]
pub struct TimeoutFuture<F> {
    /// `None` once there is a response.
    #[pin]
    inner: Option<F>,
    /// `None` if the request has no time limit.
    terms: Option<Terms>,
    // In its place and not in a box: a handler that waits is the usual one, and must not cost an allocation. Its 100
    // bytes or so exist only while a request runs; to move them costs no more time than the box did.
    #[pin]
    sleep: Option<Sleep>,
}

impl<F> TimeoutFuture<F> {
    pub(crate) fn new(inner: F, terms: Option<Terms>) -> Self {
        TimeoutFuture {
            inner: Some(inner),
            terms,
            sleep: None,
        }
    }
}

impl<F, B, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<TimeoutBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            if let Poll::Ready(answer) = inner.poll(cx) {
                this.inner.set(None);
                this.sleep.set(None);
                let terms = this.terms.take();
                return Poll::Ready(answer.map(|response| TimeoutBody::of(response, terms)));
            }
        }
        let Some(deadline) = this.terms.as_ref().and_then(|terms| terms.limit.deadline()) else {
            this.sleep.set(None);
            return Poll::Pending;
        };
        // Outside of tokio's cooperative budget: a service that uses it up in each of its polls would leave
        // none for the timer, which would have the task polled again and again until the deadline.
        if Instant::now() < deadline {
            let armed = this.sleep.as_ref().as_pin_ref();
            if armed.is_none_or(|sleep| sleep.deadline() != deadline) {
                this.sleep.set(Some(sleep_until(deadline)));
            }
            if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                ready!(pin!(unconstrained(sleep)).poll(cx));
            }
        }
        // Before the response is sent: the client may send its next request when the resources of this one are free.
        this.inner.set(None);
        this.sleep.set(None);
        match this.terms.take() {
            Some(terms) => Poll::Ready(Ok(terms.refuse().map(TimeoutBody::unlimited))),
            None => Poll::Pending,
        }
    }
}

impl<F> fmt::Debug for TimeoutFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture")
            .field("limited", &self.terms.is_some())
            .finish_non_exhaustive()
    }
}
