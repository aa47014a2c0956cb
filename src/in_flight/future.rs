use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::InFlightBody;
use super::registry::InFlightGuard;
use crate::track::TrackedBody;

/// The answer of an [`InFlight`](super::InFlight) service; dropping it ends the request.
#[pin_project]
pub struct InFlightFuture<F> {
    #[pin]
    inner: F,
    /// `None` when the layer is off, and once the guard has gone on into the body.
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
        // A failed request is over; one that was answered goes on in its body.
        let guard = this.guard.take();
        // How the body ends makes no difference here, so its length is not looked for.
        Poll::Ready(Ok(TrackedBody::answer(answer?, *this.head, None, guard)))
    }
}

impl<F> fmt::Debug for InFlightFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightFuture").finish_non_exhaustive()
    }
}
