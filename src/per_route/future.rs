use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::RouteBody;
use super::body::Stream;
use crate::body_limit::{BodyLimitFuture, Watch};
use crate::timeout::TimeoutFuture;

/// The response future of a [`RouteService`](super::RouteService): the inner service's response, or a refusal.
#[pin_project]
pub struct RouteFuture<F> {
    #[pin]
    answer: BodyLimitFuture<TimeoutFuture<F>>,
    stream: Option<Stream>,
}

impl<F> RouteFuture<F> {
    pub(super) fn passed(
        future: TimeoutFuture<F>,
        watch: Option<Watch>,
        stream: Option<Stream>,
    ) -> Self {
        RouteFuture {
            answer: BodyLimitFuture::passed(future, watch),
            stream,
        }
    }

    pub(super) fn refused(refusal: Response<Bytes>) -> Self {
        RouteFuture {
            answer: BodyLimitFuture::refused(refusal),
            stream: None,
        }
    }
}

impl<F, B, E> Future for RouteFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<crate::error::BoxError>,
{
    type Output = Result<Response<RouteBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx))?;
        Poll::Ready(Ok(RouteBody::of(answer, this.stream.take())))
    }
}

impl<F> fmt::Debug for RouteFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteFuture").finish_non_exhaustive()
    }
}
