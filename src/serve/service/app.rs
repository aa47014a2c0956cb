//! The bound of every service that `serve` accepts, under one name.

#[cfg(feature = "axum")]
use std::any::Any;
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
///
/// A service that takes a body of another type has its requests converted:
///
/// ```
/// use axum::body::Body;
/// use http::{Request, Response};
/// use lameduck::serve::RequestBody;
/// use std::convert::Infallible;
/// use tower::ServiceExt;
///
/// # fn on(listener: tokio::net::TcpListener) {
/// let service = tower::service_fn(|request: Request<Body>| async {
///     Ok::<_, Infallible>(Response::new(request.into_body()))
/// });
/// let service = service.map_request(|request: Request<RequestBody>| request.map(Body::new));
/// let server = lameduck::serve(listener, service);
/// # drop(server);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served",
    label = "not a service that can be served",
    note = "pass the `Router` itself, not `into_make_service()` or `into_make_service_with_connect_info()`; `ConnectInfo` is there with the feature `axum`",
    note = "a `Router<S>` needs `.with_state(..)` first",
    note = "a service of your own takes `http::Request<lameduck::serve::RequestBody>` (or is generic over the body), returns a `Response` with a body of `Bytes`, and is `Clone + Send + 'static`",
    note = "of tonic: pass `tonic::service::Routes::new(service)` in place of `Server::builder().add_service(service)`",
    note = "one that takes another body: `service.map_request(|request: Request<RequestBody>| request.map(axum::body::Body::new))`, with tower's `ServiceExt`"
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
    note = "pass the `Router` itself, not `into_make_service()` or `into_make_service_with_connect_info()`; `ConnectInfo` is there with the feature `axum`",
    note = "a `Router<S>` needs `.with_state(..)` first"
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

/// A service that takes the server's requests. A trait only so that the compiler can say what to do about one that takes
/// others: it comes first, and its impl is not recommended, so that an error within it is one of `App`.
///
/// ```compile_fail,E0277
/// # fn on(listener: tokio::net::TcpListener, app: axum::Router) {
/// let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
/// drop(lameduck::serve(listener, app));
/// # }
/// ```
///
/// ```compile_fail,E0631
/// # fn on(listener: tokio::net::TcpListener) {
/// let app = tower::service_fn(|_: http::Request<String>| async {
///     Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
/// });
/// drop(lameduck::serve(listener, app));
/// # }
/// ```
#[doc(hidden)]
#[allow(unnameable_types)]
pub trait TakesRequestBody {}

#[diagnostic::do_not_recommend]
impl<S: Service<Request<RequestBody>>> TakesRequestBody for S {}

/// All that `App` asks of a service besides.
#[doc(hidden)]
#[allow(unnameable_types)]
pub trait HttpService {
    type ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    type Response: HttpResponse<Body = Self::ResBody>;
    type Error: Into<BoxError>;
    type Future: Future<Output = Result<Self::Response, Self::Error>> + Send + 'static;

    fn ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;
    fn respond(&mut self, request: Request<RequestBody>) -> Self::Future;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Error: Into<BoxError>, Future: Send>,
    S::Response: HttpResponse<Body = B>,
    S::Future: 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type ResBody = B;
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_ready(cx)
    }

    fn respond(&mut self, request: Request<RequestBody>) -> S::Future {
        self.call(request)
    }
}

/// A level between, so that the compiler finds an error of `TakesRequestBody` before it finds the same one here.
#[doc(hidden)]
#[allow(unnameable_types)]
pub trait Servable: HttpService {}

impl<S: HttpService> Servable for S {}

impl<S> App for S
where
    S: TakesRequestBody + Servable + Clone + Send + 'static,
{
    type ResBody = S::ResBody;
    type Future = Oneshot<S>;

    fn start(&self, request: Request<RequestBody>) -> Oneshot<S> {
        // A service that was made ready may hold a resource for its call, such as a concurrency limit's permit, until
        // it is called or dropped, and a layer that refuses does not call the inner service. One service for all
        // requests of a connection would hold that for as long as the client keeps the connection.
        let mut service = self.clone();
        // Most services are always ready, and a request is large to carry about: ask at once, with a waker that wakes
        // no task.
        let mut noop = Context::from_waker(Waker::noop());
        let step = match service.ready(&mut noop) {
            Poll::Ready(Ok(())) => Step::Answering(service.respond(request)),
            Poll::Ready(Err(error)) => Step::Failed(Some(error.into())),
            // It may have taken its place in a queue: it waits there.
            Poll::Pending => Step::Readying(Box::new((service, Some(request)))),
        };
        Oneshot { step }
    }
}

/// Returns the service as it is called for every request: an axum router applies its layers to a route at each request
/// until it has its state, even if that is `()`.
#[cfg(feature = "axum")]
pub(crate) fn with_layers_applied<A: App>(mut app: A) -> A {
    let any: &mut dyn Any = &mut app;
    if let Some(router) = any.downcast_mut::<axum::Router>() {
        *router = std::mem::take(router).with_state(());
    }
    app
}

/// A future that waits until a service is ready, calls it, and waits for the response.
#[pin_project]
#[allow(missing_debug_implementations)] // a future of the service, which need not be Debug
// A future that `App` names.
#[allow(unnameable_types)]
pub struct Oneshot<S: HttpService> {
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

impl<S: HttpService> Future for Oneshot<S> {
    type Output = Result<Response<S::ResBody>, BoxError>;

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
                    ready!(service.ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("polled after a panic");
                    service.respond(request)
                }
            };
            step.set(Step::Answering(answering));
        }
    }
}
