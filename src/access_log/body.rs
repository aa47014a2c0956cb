use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use super::line::Line;
use crate::track::End;

/// The response body of an [`AccessLog`](super::AccessLog) service: its end writes the line.
///
/// Its ends are those of a [`TrackedBody`](crate::track::TrackedBody), which does not count bytes.
#[pin_project(PinnedDrop)]
pub struct AccessLogBody<B: Body> {
    #[pin]
    body: B,
    line: Option<Line>,
    /// Dropping it unread is its proper end: the answer to a HEAD, a 204 or a 304.
    unread: bool,
    /// The length that the head declares: a body that has passed so much may be dropped.
    declared: Option<u64>,
}

impl<B: Body> AccessLogBody<B> {
    pub(super) fn new(body: B, line: Option<Line>, unread: bool, declared: Option<u64>) -> Self {
        AccessLogBody {
            body,
            line,
            unread,
            declared,
        }
    }
}

impl<B: Body> Body for AccessLogBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let Some(line) = this.line else {
            return Poll::Ready(frame);
        };
        let end = match &frame {
            None => Some(End::Complete),
            Some(Err(_)) => Some(End::Error),
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(0, Buf::remaining);
                line.bytes += data as u64;
                this.body.is_end_stream().then_some(End::Complete)
            }
        };
        if let Some(how) = end {
            if let Some(line) = this.line.take() {
                line.end(how);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[pinned_drop]
impl<B: Body> PinnedDrop for AccessLogBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(line) = this.line.take() {
            let whole = this.declared.is_some_and(|declared| line.bytes >= declared);
            if *this.unread || whole || this.body.is_end_stream() {
                line.end(End::Complete);
            }
            // Otherwise it is dropped, and so told as cancelled.
        }
    }
}

impl<B: Body> fmt::Debug for AccessLogBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogBody")
            .field("ended", &self.line.is_none())
            .finish_non_exhaustive()
    }
}
