use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::guard::{Measure, Running};
use crate::track::{TrackedBody, content_length};

/// The response body of a [`Measured`](super::Measured) service: its end is the request's end.
#[pin_project]
pub struct MetricsBody<B: Body> {
    #[pin]
    body: TrackedBody<B, Measure>,
}

impl<B: Body> MetricsBody<B> {
    pub(super) fn answer(response: Response<B>, mut running: Option<Running>) -> Response<Self> {
        let status = response.status();
        let unread = running.as_mut().is_some_and(|running| running.head(status));
        let declared = running
            .as_ref()
            .and_then(|_| content_length(response.headers()));
        response.map(|body| MetricsBody {
            body: if unread {
                TrackedBody::unread(body, Measure(running))
            } else {
                TrackedBody::new(body, Measure(running)).declared(declared)
            },
        })
    }
}

impl<B: Body> Body for MetricsBody<B> {
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

impl<B: Body> fmt::Debug for MetricsBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsBody").finish_non_exhaustive()
    }
}
