use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::BodyEnd;
use bytes::Buf;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

/// A guard that a [`TrackedBody`] ends exactly once.
pub trait Guard {
    /// Called for each data frame that passes, with its length, before the `end` that it may cause.
    #[inline]
    fn data(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Called for trailers that pass, before the `end` that they cause.
    #[inline]
    fn trailers(&mut self, trailers: &HeaderMap) {
        let _ = trailers;
    }

    /// Called once, from the poll that saw the end or from the body's drop. It must not block.
    fn end(self, how: BodyEnd);
}

/// A body that ends its guard exactly once and reports how it ended.
///
/// Data, trailers, `size_hint` and `is_end_stream` are those of the inner body, so that `Content-Length` and gRPC's
/// END_STREAM are unchanged.
///
/// The guard ends as soon as the end is known: with the last frame if the inner body then returns `true` from
/// `is_end_stream`, because a server that knows the length does not poll again.
#[pin_project(PinnedDrop)]
pub struct TrackedBody<B: Body, G: Guard> {
    #[pin]
    body: B,
    guard: Option<G>,
    /// `true` if dropping the body unread is its proper end: the response to a HEAD, a 204 or a 304.
    unread: bool,
    /// The rest of the declared length.
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

    /// Tracks a body that the server drops unread because the response has none by definition (to a HEAD, or with
    /// status 204 or 304). The drop counts as [`BodyEnd::Complete`].
    pub fn unread(body: B, guard: G) -> Self {
        TrackedBody {
            body,
            guard: Some(guard),
            unread: true,
            left: None,
        }
    }

    /// Returns the response with its body tracked as its status and the request require.
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

    /// Returns the guard until it is ended.
    #[cfg(feature = "serve")]
    pub(crate) fn guard(&self) -> Option<&G> {
        self.guard.as_ref()
    }

    /// Sets the length declared by the message's `Content-Length`: once that many bytes have passed, a drop is
    /// [`BodyEnd::Complete`]. A server that has written them all may drop the body without polling for its end, as hyper
    /// does on HTTP/1, and a stream does not know that it is at its end.
    #[must_use]
    pub fn declared(mut self, length: Option<u64>) -> Self {
        self.left = length;
        self
    }
}

/// Returns `true` if the response has no body by definition (RFC 9110, 6.4.1): a body given anyway is dropped unread.
fn has_no_body(to_head: bool, status: StatusCode) -> bool {
    to_head
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        )
}

/// Parses `Content-Length`; `None` if it is missing or not a number.
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
            } else if let Some(trailers) = frame.trailers_ref() {
                guard.trailers(trailers);
            }
        }
        let end = match &frame {
            None => Some(BodyEnd::Complete),
            Some(Err(_)) => Some(BodyEnd::Error),
            Some(Ok(_)) if this.body.is_end_stream() => Some(BodyEnd::Complete),
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
                BodyEnd::Complete
            } else {
                BodyEnd::Cancelled
            });
        }
    }
}

/// An untracked body, for responses that a layer further out, such as tower-http's CORS, makes by itself.
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
