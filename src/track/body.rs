use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::End;
use bytes::Buf;
#[cfg(any(feature = "metrics", feature = "tracing"))]
use http::{HeaderMap, header};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

/// What a [`TrackedBody`] ends, exactly once.
pub trait Guard {
    /// Called for each frame of data that passes, with its length, before the `end` that it may be.
    #[inline]
    fn data(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Called once, from the poll that saw the end or from the body's drop. It must not block.
    fn end(self, how: End);
}

/// A body that ends its guard exactly once and says how it ended.
///
/// Data, trailers, `size_hint` and `is_end_stream` are those of the body inside, so that
/// `Content-Length` and gRPC's END_STREAM stay what they were.
///
/// The guard ends as soon as the end is known: with the last frame when the inner body then says
/// `is_end_stream`, because a server that knows the length does not poll again.
#[pin_project(PinnedDrop)]
pub struct TrackedBody<B: Body, G: Guard> {
    #[pin]
    body: B,
    guard: Option<G>,
    /// Dropping it unread is its proper end: the answer to a HEAD, a 204 or a 304.
    unread: bool,
    /// What is to come of the length that was declared.
    left: Option<u64>,
}

impl<B: Body, G: Guard> TrackedBody<B, G> {
    /// Tracks `body` to its end.
    pub fn new(body: B, guard: G) -> Self {
        TrackedBody {
            body,
            guard: Some(guard),
            unread: false,
            left: None,
        }
    }

    /// Tracks a body that the server drops unread because the answer has none by definition (to a
    /// HEAD, or with status 204 or 304): that is [`End::Complete`].
    pub fn unread(body: B, guard: G) -> Self {
        TrackedBody {
            body,
            guard: Some(guard),
            unread: true,
            left: None,
        }
    }

    /// The response with its body tracked, in the way that its status and the request ask for.
    pub(crate) fn answer(
        response: Response<B>,
        to_head: bool,
        declared: Option<u64>,
        guard: G,
    ) -> Response<Self> {
        let unread = has_no_body(to_head, response.status());
        response.map(|body| TrackedBody {
            body,
            guard: Some(guard),
            unread,
            left: declared,
        })
    }

    /// The guard, until it is ended.
    #[cfg(feature = "serve")]
    pub(crate) fn guard(&self) -> Option<&G> {
        self.guard.as_ref()
    }

    /// The length that the message's `Content-Length` declares, if it does: once so many bytes have passed,
    /// a drop is [`End::Complete`]. A server that has written them all may drop the body without a poll for
    /// its end, as hyper does on HTTP/1, and a stream does not know that it is there.
    #[must_use]
    pub fn declared(mut self, length: Option<u64>) -> Self {
        self.left = length;
        self
    }
}

/// Whether an answer has no body by definition (RFC 9110, 6.4.1): what there is of one is dropped unread.
fn has_no_body(to_head: bool, status: StatusCode) -> bool {
    to_head
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        )
}

/// What `Content-Length` declares, where there is one that is a number.
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

impl<B: Body, G: Guard> Body for TrackedBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if let (Some(Ok(frame)), Some(guard)) = (&frame, this.guard.as_mut()) {
            if let Some(data) = frame.data_ref() {
                let length = data.remaining();
                if let Some(left) = this.left.as_mut() {
                    *left = left.saturating_sub(length as u64);
                }
                guard.data(length);
            }
        }
        let end = match &frame {
            None => Some(End::Complete),
            Some(Err(_)) => Some(End::Error),
            Some(Ok(_)) if this.body.is_end_stream() => Some(End::Complete),
            Some(Ok(_)) => None,
        };
        if let Some(how) = end {
            if let Some(guard) = this.guard.take() {
                guard.end(how);
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
impl<B: Body, G: Guard> PinnedDrop for TrackedBody<B, G> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(guard) = this.guard.take() {
            let complete = *this.unread || *this.left == Some(0) || this.body.is_end_stream();
            guard.end(if complete {
                End::Complete
            } else {
                End::Cancelled
            });
        }
    }
}

/// A body that nothing tracks: what a layer further out, such as tower-http's CORS, answers by itself.
impl<B: Body + Default, G: Guard> Default for TrackedBody<B, G> {
    fn default() -> Self {
        TrackedBody {
            body: B::default(),
            guard: None,
            unread: false,
            left: None,
        }
    }
}

impl<B: Body, G: Guard> fmt::Debug for TrackedBody<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody")
            .field("ended", &self.guard.is_none())
            .finish_non_exhaustive()
    }
}
