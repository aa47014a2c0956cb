//! The service within its layers: inside of axum's router, around any other.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "axum")]
use super::builder::Change;
use crate::body_limit::BodyLimitBody;
use crate::error::BoxError;
use crate::serve::{App, RequestBody};
use crate::stack::{Stack, StackBody, Stacked};

/// The gRPC health protocol's service.
#[cfg(feature = "tonic")]
pub(super) type GrpcHealthService =
    tonic_health::pb::health_server::HealthServer<crate::health::GrpcHealth>;

#[cfg(feature = "tonic")]
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// A service within the stack, and in front of it the gRPC health service.
#[derive(Clone)]
pub(super) struct Composed<A> {
    inner: Inner<A>,
    #[cfg(feature = "tonic")]
    grpc_health: Option<GrpcHealthService>,
}

#[derive(Clone)]
enum Inner<A> {
    #[cfg(feature = "axum")]
    Router(axum::Router),
    Around(Stacked<Plain<A>>),
}

impl<A: App> Composed<A> {
    pub(super) fn new(app: A, stack: &Stack) -> Self {
        Composed {
            inner: Inner::new(app, stack),
            #[cfg(feature = "tonic")]
            grpc_health: None,
        }
    }

    /// Puts layers around the stack of a router.
    #[cfg(feature = "axum")]
    pub(super) fn outer_layers(mut self, changes: Vec<Change<axum::Router>>) -> Self {
        if let Inner::Router(router) = self.inner {
            let router = changes.into_iter().fold(router, |app, change| change(app));
            self.inner = Inner::Router(router);
        }
        self
    }

    #[cfg(feature = "tonic")]
    pub(super) fn grpc_health(mut self, service: Option<GrpcHealthService>) -> Self {
        self.grpc_health = service;
        self
    }
}

impl<A: App> Inner<A> {
    fn new(app: A, stack: &Stack) -> Self {
        #[cfg(feature = "axum")]
        let app = match router(app) {
            // Inside, where the route is known. The state, because without it the layers are applied at each request.
            Ok(router) => return Inner::Router(router.layer(stack.clone()).with_state(())),
            Err(app) => app,
        };
        Inner::Around(stack.layer(Plain(app)))
    }
}

#[cfg(feature = "axum")]
fn router<A: Clone + 'static>(app: A) -> Result<axum::Router, A> {
    let any: &dyn std::any::Any = &app;
    any.downcast_ref::<axum::Router>().cloned().ok_or(app)
}

#[cfg(feature = "axum")]
pub(super) fn is_router<A: 'static>(app: &A) -> bool {
    let any: &dyn std::any::Any = app;
    any.is::<axum::Router>()
}

impl<A: App> Service<Request<RequestBody>> for Composed<A> {
    type Response = Response<ComposedBody<A::ResBody>>;
    type Error = BoxError;
    type Future = ComposedFuture<A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.inner {
            #[cfg(feature = "axum")]
            Inner::Router(router) => {
                let ready = Service::<Request<RequestBody>>::poll_ready(router, cx);
                ready.map_err(|never| match never {})
            }
            Inner::Around(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<RequestBody>) -> ComposedFuture<A> {
        #[cfg(feature = "tonic")]
        if let Some(service) = &mut self.grpc_health {
            if request.uri().path().starts_with(GRPC_HEALTH) {
                return ComposedFuture(Answer::Health(service.call(request)));
            }
        }
        ComposedFuture(match &mut self.inner {
            #[cfg(feature = "axum")]
            Inner::Router(router) => Answer::Router(router.call(request)),
            Inner::Around(service) => Answer::Around(service.call(request)),
        })
    }
}

type Around<A> = <Stacked<Plain<A>> as Service<Request<RequestBody>>>::Future;

#[pin_project]
pub(super) struct ComposedFuture<A: App>(#[pin] Answer<A>);

// Which variant it is is known with the type of the service: none of them carries the other's size for long.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = AnswerProjected)]
enum Answer<A: App> {
    #[cfg(feature = "axum")]
    Router(#[pin] <axum::Router as Service<Request<RequestBody>>>::Future),
    Around(#[pin] Around<A>),
    #[cfg(feature = "tonic")]
    Health(#[pin] <GrpcHealthService as Service<Request<RequestBody>>>::Future),
}

impl<A: App> Future for ComposedFuture<A> {
    type Output = Result<Response<ComposedBody<A::ResBody>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            #[cfg(feature = "axum")]
            AnswerProjected::Router(future) => future.poll(cx).map(|answer| match answer {
                Ok(response) => Ok(response.map(ComposedBody::Router)),
                Err(never) => match never {},
            }),
            AnswerProjected::Around(future) => future
                .poll(cx)
                .map_ok(|response| response.map(ComposedBody::Around)),
            #[cfg(feature = "tonic")]
            AnswerProjected::Health(future) => future.poll(cx).map(|answer| match answer {
                Ok(response) => Ok(response.map(ComposedBody::Health)),
                Err(never) => match never {},
            }),
        }
    }
}

// As above.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = BodyProjected)]
pub(super) enum ComposedBody<B: Body<Data = Bytes, Error: Into<BoxError>>> {
    #[cfg(feature = "axum")]
    Router(#[pin] axum::body::Body),
    Around(#[pin] StackBody<B>),
    #[cfg(feature = "tonic")]
    Health(#[pin] tonic::body::Body),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ComposedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            #[cfg(feature = "axum")]
            BodyProjected::Router(body) => body.poll_frame(cx).map_err(Into::into),
            BodyProjected::Around(body) => body.poll_frame(cx),
            #[cfg(feature = "tonic")]
            BodyProjected::Health(body) => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            #[cfg(feature = "axum")]
            ComposedBody::Router(body) => body.is_end_stream(),
            ComposedBody::Around(body) => body.is_end_stream(),
            #[cfg(feature = "tonic")]
            ComposedBody::Health(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            #[cfg(feature = "axum")]
            ComposedBody::Router(body) => body.size_hint(),
            ComposedBody::Around(body) => body.size_hint(),
            #[cfg(feature = "tonic")]
            ComposedBody::Health(body) => body.size_hint(),
        }
    }
}

/// A service as it is given to [`serve`](crate::serve()), inside of the stack: the request's body is the same type.
#[derive(Clone)]
pub(super) struct Plain<A>(A);

impl<A: App> Service<Request<BodyLimitBody<RequestBody>>> for Plain<A> {
    type Response = Response<A::ResBody>;
    type Error = BoxError;
    type Future = A::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call waits for its own clone.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<BodyLimitBody<RequestBody>>) -> A::Future {
        self.0.start(request.map(RequestBody::limited))
    }
}

impl<A> fmt::Debug for Plain<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}
