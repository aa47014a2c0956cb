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

use crate::body_limit::BodyLimitBody;
use crate::error::BoxError;
use crate::serve::{App, RequestBody};
use crate::stack::{Stack, StackBody, Stacked};

/// A service within the stack.
#[derive(Clone)]
pub(super) enum Composed<A> {
    #[cfg(feature = "axum")]
    Router(axum::Router),
    Around(Stacked<Plain<A>>),
}

impl<A: App> Composed<A> {
    pub(super) fn new(app: A, stack: &Stack) -> Self {
        #[cfg(feature = "axum")]
        let app = match router(app) {
            // Inside, where the route is known.
            Ok(router) => return Composed::Router(router.layer(stack.clone())),
            Err(app) => app,
        };
        Composed::Around(stack.layer(Plain(app)))
    }
}

#[cfg(feature = "axum")]
fn router<A: Clone + 'static>(app: A) -> Result<axum::Router, A> {
    let any: &dyn std::any::Any = &app;
    any.downcast_ref::<axum::Router>().cloned().ok_or(app)
}

impl<A: App> Service<Request<RequestBody>> for Composed<A> {
    type Response = Response<ComposedBody<A::ResBody>>;
    type Error = BoxError;
    type Future = ComposedFuture<A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            #[cfg(feature = "axum")]
            Composed::Router(router) => {
                let ready = Service::<Request<RequestBody>>::poll_ready(router, cx);
                ready.map_err(|never| match never {})
            }
            Composed::Around(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<RequestBody>) -> ComposedFuture<A> {
        ComposedFuture(match self {
            #[cfg(feature = "axum")]
            Composed::Router(router) => Answer::Router(router.call(request)),
            Composed::Around(service) => Answer::Around(service.call(request)),
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            #[cfg(feature = "axum")]
            ComposedBody::Router(body) => body.is_end_stream(),
            ComposedBody::Around(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            #[cfg(feature = "axum")]
            ComposedBody::Router(body) => body.size_hint(),
            ComposedBody::Around(body) => body.size_hint(),
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
