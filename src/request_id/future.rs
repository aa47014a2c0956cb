use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project::pin_project;

use super::shared::{ResponseId, show};

/// The response future of a [`RequestIdService`](super::RequestIdService) service, which adds the id to the response's header.
#[pin_project]
pub struct RequestIdFuture<F> {
    #[pin]
    inner: F,
    /// `None` if the layer is off.
    id: Option<ResponseId>,
}

impl<F> RequestIdFuture<F> {
    pub(super) fn new(inner: F, id: Option<ResponseId>) -> Self {
        RequestIdFuture { inner, id }
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
        if let (Ok(response), Some(id)) = (&mut answer, this.id.take()) {
            show(response, id);
        }
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for RequestIdFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestIdFuture").finish_non_exhaustive()
    }
}
