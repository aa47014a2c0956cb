use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::MetricsBody;
use super::guard::Running;

/// The response future of a [`MetricsService`](super::MetricsService) service. Dropping it ends the request as cancelled.
#[pin_project]
pub struct MetricsFuture<F> {
    #[pin]
    inner: F,
    /// `None` if the layer is off, or once the request has moved into the body.
    running: Option<Running>,
}

impl<F> MetricsFuture<F> {
    pub(super) fn new(inner: F, running: Option<Running>) -> Self {
        MetricsFuture { inner, running }
    }
}

impl<F, B, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<MetricsBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.running.as_mut() {
            Some(running) => ready!(running.guarded(|| this.inner.poll(cx))),
            None => ready!(this.inner.poll(cx)),
        };
        let running = this.running.take();
        Poll::Ready(match answer {
            Ok(response) => Ok(Running::answered(running, response)),
            Err(error) => {
                if let Some(running) = running {
                    running.failed();
                }
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for MetricsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFuture").finish_non_exhaustive()
    }
}
