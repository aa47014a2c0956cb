use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::line::Line;
use crate::track::{End, Guard, TrackedBody};

/// The response body of an [`AccessLog`](super::AccessLog) service: its end writes the line.
#[pin_project]
pub struct AccessLogBody<B: Body> {
    #[pin]
    body: TrackedBody<B, Told>,
}

/// `None` where nothing is written.
struct Told(Option<Line>);

impl Guard for Told {
    fn data(&mut self, bytes: usize) {
        if let Some(line) = &mut self.0 {
            line.bytes += bytes as u64;
        }
    }

    fn end(self, how: End) {
        if let Some(line) = self.0 {
            line.end(how);
        }
    }
}

impl<B: Body> AccessLogBody<B> {
    pub(super) fn new(body: B, line: Option<Line>, unread: bool, declared: Option<u64>) -> Self {
        let body = match unread {
            true => TrackedBody::unread(body, Told(line)),
            false => TrackedBody::new(body, Told(line)),
        };
        AccessLogBody {
            body: body.declared(declared),
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
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> fmt::Debug for AccessLogBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogBody").finish_non_exhaustive()
    }
}
