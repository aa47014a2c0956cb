//! What `serve` takes for a service, under one name.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::RequestBody;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any tower service over HTTP that can be cloned and sent: an `axum::Router`, a
/// `tonic::service::Routes`, a `tower::service_fn`. Never implemented by hand.
pub trait App: Clone + Send + 'static {
    /// The response's body.
    type ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// The service's error; it is answered with 500.
    type Error: Into<BoxError>;
    /// The answer to come.
    type Future: Future<Output = Result<Response<Self::ResBody>, Self::Error>> + Send + 'static;

    /// Calls a clone of the service, once it is ready.
    fn oneshot(&self, request: Request<RequestBody>) -> Self::Future;
}

impl<S, B> App for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type ResBody = B;
    type Error = S::Error;
    type Future = Oneshot<S>;

    fn oneshot(&self, request: Request<RequestBody>) -> Oneshot<S> {
        Oneshot {
            step: Step::Readying(self.clone(), Some(request)),
        }
    }
}

/// Waits until a service is ready, calls it, and waits for the answer.
#[pin_project]
#[allow(missing_debug_implementations)] // a future of the service, which need not be Debug
pub struct Oneshot<S: Service<Request<RequestBody>>> {
    #[pin]
    step: Step<S, S::Future>,
}

#[pin_project(project = Projected)]
enum Step<S, F> {
    Readying(S, Option<Request<RequestBody>>),
    Answering(#[pin] F),
}

impl<S: Service<Request<RequestBody>>> Future for Oneshot<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let answering = match step.as_mut().project() {
                Projected::Readying(service, request) => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("polled after it panicked");
                    service.call(request)
                }
                Projected::Answering(future) => return future.poll(cx),
            };
            step.set(Step::Answering(answering));
        }
    }
}
