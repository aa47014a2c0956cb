use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::shared::Shared;
use super::terms::Terms;
use super::{RouteTimeout, TimeoutBody, TimeoutFuture};
use crate::error::BoxError;

/// The service that [`TimeoutLayer`](super::TimeoutLayer) makes.
#[derive(Clone)]
pub struct Timeout<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Timeout<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<TimeoutBody<ResB>>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(shared) = &self.shared else {
            return TimeoutFuture::new(self.inner.call(request), None);
        };
        let mut route = None;
        if let Some(per_request) = &shared.per_request {
            // Only a head in parts can be shown without the body.
            let (head, body) = request.into_parts();
            route = per_request(&head);
            request = Request::from_parts(head, body);
        }
        let route = route.or_else(|| request.extensions().get::<RouteTimeout>().copied());
        // Before the inner call: a service may do its work there.
        let terms = Terms::of(shared, route, &mut request);
        TimeoutFuture::new(self.inner.call(request), terms)
    }
}

impl<S: fmt::Debug> fmt::Debug for Timeout<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("layer", &self.shared)
            .finish()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for Timeout<S> {
    const NAME: &'static str = S::NAME;
}
