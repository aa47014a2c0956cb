use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::registry::InFlightGuard;
use crate::track::TrackedBody;

/// The response body of an [`InFlight`](super::InFlight) service: its end is the request's end.
#[pin_project]
pub struct InFlightBody<B: Body> {
    #[pin]
    body: TrackedBody<B, Option<InFlightGuard>>,
}

impl<B: Body> InFlightBody<B> {
    pub(super) fn new(body: B, guard: Option<InFlightGuard>, unread: bool) -> Self {
        InFlightBody {
            body: if unread {
                TrackedBody::unread(body, guard)
            } else {
                TrackedBody::new(body, guard)
            },
        }
    }
}

impl<B: Body> Body for InFlightBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> fmt::Debug for InFlightBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightBody").finish_non_exhaustive()
    }
}
