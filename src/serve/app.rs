//! What `serve` takes for a service, under one name.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::RequestBody;
use crate::BoxError;

/// Any tower service over HTTP that can be cloned and sent: an `axum::Router`, a
/// `tonic::service::Routes`, a `tower::service_fn`. Never implemented by hand.
pub trait App: Clone + Send + 'static {
    /// The response's body.
    type ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// The answer to come; a service's error is answered with 500.
    type Future: Future<Output = Result<Response<Self::ResBody>, BoxError>> + Send + 'static;

    /// Calls the service, once it is ready. A request is answered by this instance or, when it is not
    /// ready at once, by what it was until then; either way it is left fit for the next one.
    fn start(&mut self, request: Request<RequestBody>) -> Self::Future;
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
    type Future = Oneshot<S>;

    fn start(&mut self, request: Request<RequestBody>) -> Oneshot<S> {
        // Most services are always ready, and a request is large to carry about: ask at once, with a waker
        // that wakes nobody.
        let mut nobody = Context::from_waker(Waker::noop());
        let step = match self.poll_ready(&mut nobody) {
            Poll::Ready(Ok(())) => Step::Answering(self.call(request)),
            Poll::Ready(Err(error)) => Step::Failed(Some(error.into())),
            Poll::Pending => {
                // It may have taken its place in a queue (a concurrency limit does): it waits there for
                // this request, and a clone, which has taken none, for the next.
                let fresh = self.clone();
                let waiting = std::mem::replace(self, fresh);
                Step::Readying(Box::new((waiting, Some(request))))
            }
        };
        Oneshot { step }
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
    /// Boxed, so that the common case does not carry its size.
    Readying(Box<(S, Option<Request<RequestBody>>)>),
    Answering(#[pin] F),
    Failed(Option<BoxError>),
}

impl<S: Service<Request<RequestBody>, Error: Into<BoxError>>> Future for Oneshot<S> {
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let answering = match step.as_mut().project() {
                Projected::Answering(future) => return future.poll(cx).map_err(Into::into),
                Projected::Failed(error) => {
                    let error = error.take().expect("polled after it was ready");
                    return Poll::Ready(Err(error));
                }
                Projected::Readying(waiting) => {
                    let (service, request) = &mut **waiting;
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("polled after it panicked");
                    service.call(request)
                }
            };
            step.set(Step::Answering(answering));
        }
    }
}
