//! The bound of every service that `serve` accepts, under one name.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::request_body::RequestBody;
use crate::error::BoxError;

/// Any tower service over HTTP that can be cloned and sent: an `axum::Router`, a
/// `tonic::service::Routes`, a `tower::service_fn`. Never implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served",
    label = "not a service that can be served",
    note = "pass the `Router` itself, not `into_make_service()` or `into_make_service_with_connect_info()`; `ConnectInfo` is there with the feature `axum`",
    note = "a service of your own takes `http::Request<lameduck::serve::RequestBody>` (or is generic over the body), returns a `Response` with a body of `Bytes`, and is `Clone + Send + 'static`"
)]
pub trait App: Clone + Send + 'static {
    /// The response's body.
    type ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// The response future; an error of the service is answered with 500.
    type Future: Future<Output = Result<Response<Self::ResBody>, BoxError>> + Send + 'static;

    /// Calls a clone of the service, once it is ready.
    fn start(&self, request: Request<RequestBody>) -> Self::Future;
}

/// What a service answers with: a `Response`. A trait only so that the compiler can say what to do about another type.
#[doc(hidden)]
#[allow(unnameable_types)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no HTTP response, so this service cannot be served",
    note = "pass the `Router` itself, not `into_make_service()` or `into_make_service_with_connect_info()`; `ConnectInfo` is there with the feature `axum`"
)]
pub trait HttpResponse {
    type Body;
    fn response(self) -> Response<Self::Body>;
}

impl<B> HttpResponse for Response<B> {
    type Body = B;

    fn response(self) -> Response<B> {
        self
    }
}

impl<S, B> App for S
where
    S: Service<Request<RequestBody>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    S::Response: HttpResponse<Body = B>,
    S::Future: 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type ResBody = B;
    type Future = Oneshot<S>;

    fn start(&self, request: Request<RequestBody>) -> Oneshot<S> {
        // A service that was made ready may hold a resource for its call, such as a concurrency limit's permit, until
        // it is called or dropped, and a layer that refuses does not call the inner service. One service for all
        // requests of a connection would hold that for as long as the client keeps the connection.
        let mut service = self.clone();
        // Most services are always ready, and a request is large to carry about: ask at once, with a waker that wakes
        // no task.
        let mut nobody = Context::from_waker(Waker::noop());
        let step = match service.poll_ready(&mut nobody) {
            Poll::Ready(Ok(())) => Step::Answering(service.call(request)),
            Poll::Ready(Err(error)) => Step::Failed(Some(error.into())),
            // It may have taken its place in a queue: it waits there.
            Poll::Pending => Step::Readying(Box::new((service, Some(request)))),
        };
        Oneshot { step }
    }
}

/// A future that waits until a service is ready, calls it, and waits for the response.
#[pin_project]
#[allow(missing_debug_implementations)] // a future of the service, which need not be Debug
// A future that `App` names.
#[allow(unnameable_types)]
pub struct Oneshot<S: Service<Request<RequestBody>>> {
    #[pin]
    step: Step<S, S::Future>,
}

#[pin_project(project = Projected)]
enum Step<S, F> {
    /// Boxed, so that the common case does not carry its size.
    Readying(Box<(S, Option<Request<RequestBody>>)>),
    Answering(#[pin] F),
    Failed(Option<BoxError>),
}

impl<S> Future for Oneshot<S>
where
    S: Service<Request<RequestBody>, Response: HttpResponse, Error: Into<BoxError>>,
{
    type Output = Result<Response<<S::Response as HttpResponse>::Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let answering = match step.as_mut().project() {
                Projected::Answering(future) => {
                    let answer = future.poll(cx).map_err(Into::into);
                    return answer.map_ok(HttpResponse::response);
                }
                Projected::Failed(error) => {
                    let error = error.take().expect("polled after it was ready");
                    return Poll::Ready(Err(error));
                }
                Projected::Readying(waiting) => {
                    let (service, request) = &mut **waiting;
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("polled after a panic");
                    service.call(request)
                }
            };
            step.set(Step::Answering(answering));
        }
    }
}
