use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::inner::InnerBody;
use super::passage::Passage;
use crate::error::BoxError;
use crate::reply::ReplyBody;
use crate::track::TrackedBody;

type Tracked<B> = TrackedBody<ReplyBody<InnerBody<B>>, Passage>;

/// The response body of a [`Stacked`](super::Stacked) service: the service's own, or that of a refusal.
#[pin_project]
pub struct StackBody<B: Body<Data = Bytes, Error: Into<BoxError>>>(#[pin] pub(super) Tracked<B>);

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for StackBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Default> Default for StackBody<B> {
    fn default() -> Self {
        StackBody(Tracked::<B>::default())
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> fmt::Debug for StackBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackBody").finish_non_exhaustive()
    }
}
