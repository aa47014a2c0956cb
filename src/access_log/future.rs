use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::AccessLogBody;
use super::line::Line;
use super::line_guard::LineGuard;
use crate::track::{BodyEnd, TrackedBody, content_length};

/// The response future of an [`AccessLog`](super::AccessLog) service. If it is dropped, the request is logged as
/// cancelled, without a status.
#[pin_project]
pub struct AccessLogFuture<F> {
    #[pin]
    inner: F,
    /// `None` if no line is written, or once the line has moved into the body.
    line: Option<Line>,
    head: bool,
}

impl<F> AccessLogFuture<F> {
    pub(super) fn new(inner: F, line: Option<Line>, head: bool) -> Self {
        AccessLogFuture { inner, line, head }
    }
}

impl<F, B, E> Future for AccessLogFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<AccessLogBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let answer = ready!(Line::guarded(this.line, || inner.poll(cx)));
        let mut line = this.line.take();
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                if let Some(line) = line {
                    line.end(BodyEnd::Error);
                }
                return Poll::Ready(Err(error));
            }
        };
        let mut declared = None;
        if let Some(line) = &mut line {
            line.responds(&response);
            declared = content_length(response.headers());
        }
        let body = TrackedBody::answer(response, *this.head, declared, LineGuard(line));
        Poll::Ready(Ok(body))
    }
}

impl<F> fmt::Debug for AccessLogFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogFuture").finish_non_exhaustive()
    }
}
