use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::TimeoutError;
use super::terms::{Limit, Terms};
use crate::error::BoxError;
use crate::reply::ReplyBody;

/// The response body of a [`Timeout`](super::Timeout) service: the service's own or the refusal's. With
/// [`whole_response`](super::TimeoutLayer::whole_response) the service's own ends with its time.
#[pin_project]
pub struct TimeoutBody<B> {
    /// `None` once the time is over.
    #[pin]
    body: Option<ReplyBody<B>>,
    limit: Option<Limit>,
    /// `true` if it ends by gRPC's trailers instead of an error.
    trailers: bool,
    // In a box, unlike the future's: few bodies have a limit and have to wait, and every response is moved
    // about with its body in it.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<B> TimeoutBody<B> {
    pub(super) fn unlimited(body: ReplyBody<B>) -> Self {
        TimeoutBody {
            body: Some(body),
            limit: None,
            trailers: false,
            sleep: None,
        }
    }

    /// Wraps the service's response, under the rest of its terms.
    pub(super) fn of(response: Response<B>, terms: Option<Terms>) -> Response<Self> {
        let mut trailers = false;
        let mut limit = None;
        if let Some(terms) = terms {
            if terms.whole && terms.limit.deadline().is_some() {
                trailers = terms.ends_by_trailers(response.headers());
                limit = Some(terms.limit);
            }
        }
        response.map(|body| TimeoutBody {
            body: Some(ReplyBody::Service(body)),
            limit,
            trailers,
            sleep: None,
        })
    }
}

impl<B> Body for TimeoutBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            // After trailers, an error or the end there is nothing left to cut short.
            if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
                *this.limit = None;
                *this.sleep = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(limit) = this.limit.as_ref() else {
            return Poll::Pending;
        };
        // Outside of the budget, for the same reason as in the future.
        let Some(deadline) = limit.deadline() else {
            return Poll::Pending;
        };
        if Instant::now() < deadline {
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));
        }
        limit.give_up();
        this.body.set(None);
        *this.sleep = None;
        limit.emit();
        let last = match this.trailers {
            true => Ok(Frame::trailers(limit.grpc_trailers())),
            false => Err(TimeoutError {}.into()),
        };
        *this.limit = None;
        Poll::Ready(Some(last))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B> fmt::Debug for TimeoutBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBody")
            .field("limited", &self.limit.is_some())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl<B: Default> Default for TimeoutBody<B> {
    fn default() -> Self {
        TimeoutBody::unlimited(ReplyBody::default())
    }
}
