use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The response body of every layer that may refuse: the service's own, or the refusal's.
#[pin_project(project = Projected)]
pub enum ReplyBody<B> {
    /// The body of the service's response.
    Service(#[pin] B),
    /// The body of a refusal; empty once it has been read.
    Refusal(Bytes),
}

impl<B> ReplyBody<B> {
    /// Wraps the service's response unchanged.
    pub fn service(response: Response<B>) -> Response<Self> {
        response.map(ReplyBody::Service)
    }

    /// Wraps a refusal made by [`Reply::answer`](super::Reply::answer).
    pub fn refusal(response: Response<Bytes>) -> Response<Self> {
        response.map(ReplyBody::Refusal)
    }
}

impl<B: Body<Data = Bytes>> Body for ReplyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            Projected::Service(body) => body.poll_frame(cx),
            Projected::Refusal(text) if text.is_empty() => Poll::Ready(None),
            Projected::Refusal(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Service(body) => body.is_end_stream(),
            ReplyBody::Refusal(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Service(body) => body.size_hint(),
            ReplyBody::Refusal(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl<B> fmt::Debug for ReplyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyBody::Service(_) => "ReplyBody::Service",
            ReplyBody::Refusal(_) => "ReplyBody::Refusal",
        })
    }
}

impl<B: Default> Default for ReplyBody<B> {
    fn default() -> Self {
        ReplyBody::Service(B::default())
    }
}
