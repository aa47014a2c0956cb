use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Response};
use pin_project::pin_project;

/// The answer of a [`SetRequestId`](super::SetRequestId) service: the inner service's, with the id in its
/// header.
#[pin_project]
pub struct RequestIdFuture<F> {
    #[pin]
    inner: F,
    /// `None` when the layer is off.
    told: Option<(HeaderName, HeaderValue)>,
}

impl<F> RequestIdFuture<F> {
    pub(super) fn new(inner: F, told: Option<(HeaderName, HeaderValue)>) -> Self {
        RequestIdFuture { inner, told }
    }
}

impl<F, B, E> Future for RequestIdFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(cx));
        if let (Ok(response), Some((name, id))) = (&mut answer, this.told.take()) {
            // Not `append`: a second one would leave the client to guess.
            response.headers_mut().insert(name, id);
        }
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for RequestIdFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestIdFuture").finish_non_exhaustive()
    }
}
