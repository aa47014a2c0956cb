use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_service::Service;

#[cfg(feature = "tracing")]
use crate::access_log::{AccessLog, AccessLogBody};
use crate::body_limit::{BodyLimit, BodyLimitBody};
use crate::catch_panic::CatchPanic;
use crate::drain::Drain;
use crate::error::BoxError;
use crate::health::HealthService;
use crate::in_flight::{InFlight, InFlightBody};
#[cfg(feature = "metrics")]
use crate::metrics::{MetricsBody, MetricsService};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimit;
use crate::real_ip::RealIp;
use crate::reply::ReplyBody;
use crate::request_id::RequestIdService;
use crate::timeout::{Timeout, TimeoutBody};

// From the outside in. The layers depend on the features of the crate, so no public type shows this one.
type All<S> = HealthService<Metered<RequestIdService<RealIp<Logged<InFlight<Drain<Own<S>>>>>>>>;
type Own<S> = Limited<BodyLimit<Timeout<CatchPanic<S>>>>;

type AllBody<B> =
    ReplyBody<MeteredBody<ReplyBody<LoggedBody<InFlightBody<ReplyBody<OwnBody<B>>>>>>>;
type OwnBody<B> = LimitedBody<ReplyBody<TimeoutBody<ReplyBody<B>>>>;

#[cfg(feature = "metrics")]
type Metered<S> = MetricsService<S>;
#[cfg(not(feature = "metrics"))]
type Metered<S> = S;
#[cfg(feature = "metrics")]
type MeteredBody<B> = MetricsBody<B>;
#[cfg(not(feature = "metrics"))]
type MeteredBody<B> = B;

#[cfg(feature = "tracing")]
type Logged<S> = AccessLog<S>;
#[cfg(not(feature = "tracing"))]
type Logged<S> = S;
#[cfg(feature = "tracing")]
type LoggedBody<B> = AccessLogBody<B>;
#[cfg(not(feature = "tracing"))]
type LoggedBody<B> = B;

#[cfg(feature = "rate-limit")]
type Limited<S> = RateLimit<S>;
#[cfg(not(feature = "rate-limit"))]
type Limited<S> = S;
#[cfg(feature = "rate-limit")]
type LimitedBody<B> = ReplyBody<B>;
#[cfg(not(feature = "rate-limit"))]
type LimitedBody<B> = B;

/// A service within a [`Stack`](super::Stack).
///
/// It answers requests if the service takes a [`BodyLimitBody`] for their body, as those of axum, tonic and warp do,
/// and as one does that is generic over it.
#[derive(Clone)]
pub struct Stacked<S>(pub(super) All<S>);

impl<S, ReqB, ResB> Service<Request<ReqB>> for Stacked<S>
where
    All<S>: Service<Request<ReqB>, Response = Response<AllBody<ResB>>>,
    S: Service<Request<BodyLimitBody<ReqB>>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Response = Response<StackBody<ResB>>;
    type Error = <All<S> as Service<Request<ReqB>>>::Error;
    type Future = StackFuture<<All<S> as Service<Request<ReqB>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        StackFuture {
            inner: self.0.call(request),
        }
    }
}

impl<S> fmt::Debug for Stacked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stacked").finish_non_exhaustive()
    }
}

/// The response future of a [`Stacked`] service.
#[pin_project]
pub struct StackFuture<F> {
    #[pin]
    inner: F,
}

impl<F, B, E> Future for StackFuture<F>
where
    F: Future<Output = Result<Response<AllBody<B>>, E>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Output = Result<Response<StackBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.project().inner.poll(cx);
        answer.map_ok(|response| response.map(StackBody))
    }
}

impl<F> fmt::Debug for StackFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackFuture").finish_non_exhaustive()
    }
}

/// The response body of a [`Stacked`] service: the service's own, or that of a refusal.
#[pin_project]
pub struct StackBody<B: Body<Data = Bytes, Error: Into<BoxError>>>(#[pin] AllBody<B>);

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
        StackBody(AllBody::<B>::default())
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> fmt::Debug for StackBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackBody").finish_non_exhaustive()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Stacked<S> {
    const NAME: &'static str = S::NAME;
}
