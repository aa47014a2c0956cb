use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::error::BoxError;
use crate::phase::{Lifecycle, Phase};
use crate::reply::{RefusalReason, ReplyBody, answers_grpc, grpc_trailers};
use crate::timeout::TimeoutBody;

/// The response body of a [`RouteService`](super::RouteService): the service's own, which ends early when the process
/// leaves and the route is a [stream](super#streams), or a refusal's.
#[pin_project]
pub struct RouteBody<B> {
    /// `None` once it has been ended.
    #[pin]
    body: Option<ReplyBody<TimeoutBody<B>>>,
    until: Option<Until>,
}

/// The end of a stream, according to its request.
pub(super) struct Stream {
    pub lifecycle: Lifecycle,
    /// `true` if the protocol has trailers that every client reads.
    pub trailers: bool,
}

/// The end of a response that has none of its own.
struct Until {
    lifecycle: Lifecycle,
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    grpc: bool,
}

impl<B> RouteBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn of(
        response: Response<ReplyBody<TimeoutBody<B>>>,
        stream: Option<Stream>,
    ) -> Response<Self> {
        let endless = response.body().size_hint().exact().is_none();
        let until = stream.filter(|_| endless).map(|stream| Until {
            leaving: Box::pin(leaving(stream.lifecycle.clone())),
            lifecycle: stream.lifecycle,
            grpc: stream.trailers && answers_grpc(response.headers()),
        });
        response.map(|body| RouteBody {
            body: Some(body),
            until,
        })
    }
}

/// Waits for the moment at which a stream ends: a random one of the first three quarters of the lame duck, as
/// connections are asked to leave, or the drain.
async fn leaving(lifecycle: Lifecycle) {
    lifecycle.draining().await;
    let random = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    let wait = lifecycle.lame_duck_left().mul_f64(0.75 * random);
    if wait.is_zero() {
        return; // Without a timer, which needs a runtime that has them.
    }
    let draining = lifecycle.reached(Phase::Draining);
    // The order of the two makes no difference.
    let _ = tokio::time::timeout(wait, draining).await;
}

impl<B> Body for RouteBody<B>
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
        let mut over = false;
        if let Some(until) = this.until.as_mut() {
            // A stream that is always ready ends too.
            if until.lifecycle.phase() >= Phase::LameDuck {
                over = until.leaving.as_mut().poll(cx).is_ready();
            }
        }
        if !over {
            if let Poll::Ready(frame) = body.poll_frame(cx) {
                if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
                    *this.until = None;
                }
                return Poll::Ready(frame);
            }
            let Some(until) = this.until.as_mut() else {
                return Poll::Pending;
            };
            if until.leaving.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let grpc = this.until.take().is_some_and(|until| until.grpc);
        this.body.set(None);
        let trailers = || Ok(Frame::trailers(grpc_trailers(RefusalReason::Draining)));
        Poll::Ready(grpc.then(trailers))
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

impl<B> fmt::Debug for RouteBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteBody")
            .field("ended", &self.body.is_none())
            .field("ends_at_the_drain", &self.until.is_some())
            .finish()
    }
}

/// The body of a response that a layer further out, such as tower-http's CORS, creates by itself.
impl<B: Default> Default for RouteBody<B> {
    fn default() -> Self {
        RouteBody {
            body: Some(ReplyBody::default()),
            until: None,
        }
    }
}
