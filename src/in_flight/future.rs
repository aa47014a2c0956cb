use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::InFlightBody;
use super::registry::InFlightGuard;
use crate::track::TrackedBody;

/// The response future of an [`InFlight`](super::InFlight) service. Dropping it ends the request.
#[pin_project]
pub struct InFlightFuture<F> {
    #[pin]
    inner: F,
    /// `None` if the layer is off, or once the guard has moved into the body.
    guard: Option<InFlightGuard>,
    head: bool,
}

impl<F> InFlightFuture<F> {
    pub(super) fn new(inner: F, guard: Option<InFlightGuard>, head: bool) -> Self {
        InFlightFuture { inner, guard, head }
    }
}

impl<F, B, E> Future for InFlightFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<InFlightBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        // A failed request is over; an answered one continues in its body.
        let guard = this.guard.take();
        // The way in which the body ends does not matter here, so its length is not looked up.
        Poll::Ready(Ok(TrackedBody::answer(answer?, *this.head, None, guard)))
    }
}

impl<F> fmt::Debug for InFlightFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightFuture").finish_non_exhaustive()
    }
}
