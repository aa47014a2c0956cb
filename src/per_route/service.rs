use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use tower_service::Service;

use super::RouteFuture;
use super::body::Stream;
use super::shared::Settings;
use crate::body_limit::{Admission, BodyLimitBody, admit};
#[cfg(feature = "serve")]
use crate::deadlines::Deadlines;
use crate::drain::Draining;
use crate::error::BoxError;
use crate::events::EventSink;
use crate::reply::RefusalReason;
use crate::served::{self, BODY_LIMIT, Subject, TIMEOUT};
use crate::timeout::{Terms, TimeoutFuture};

/// The service that [`route()`](super::route) makes.
#[derive(Clone)]
pub struct RouteService<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RouteService<S>
where
    S: Service<Request<BodyLimitBody<ReqB>>, Response = Response<ResB>>,
    ReqB: Body<Data = Bytes>,
    ResB: Body<Data = Bytes>,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<super::RouteBody<ResB>>;
    type Error = S::Error;
    type Future = RouteFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let settings = &*self.settings;
        if let Some(when) = &settings.when {
            // Only a head in parts can be shown without the body.
            let (head, body) = request.into_parts();
            let applies = when(&head);
            request = Request::from_parts(head, body);
            if !applies {
                let request = request.map(BodyLimitBody::unlimited);
                let future = TimeoutFuture::new(self.inner.call(request), None);
                return RouteFuture::passed(future, None, None);
            }
        }
        let subject = settings.take_over(&mut request);
        settings.set_deadlines(&request);
        let terms = settings.terms(&subject, &request);
        let stream = settings.streaming.then(|| settings.stream(&request));
        let (request, watch) = match settings.body_limit.flatten() {
            None => (request.map(BodyLimitBody::unlimited), None),
            Some(limit) => match admit(request, limit, None, &subject.event_sink(), subject, false)
            {
                Admission::Passed(request, watch) => (request, watch),
                Admission::Refused(refusal) => return RouteFuture::refused(refusal),
            },
        };
        let future = TimeoutFuture::new(self.inner.call(request), terms);
        RouteFuture::passed(future, watch, stream.flatten())
    }
}

impl Settings {
    /// Makes the layers further out yield.
    fn take_over<B>(&self, request: &mut Request<B>) -> Subject {
        let mut taken = 0;
        if self.timeout.is_some() || self.streaming {
            taken |= TIMEOUT;
        }
        if self.body_limit.is_some() || self.streaming {
            taken |= BODY_LIMIT;
            #[cfg(feature = "axum")]
            axum::extract::DefaultBodyLimit::disable().apply(request);
        }
        let subject = Subject::of(request, &EventSink::none(), false);
        subject.take_over(taken);
        subject
    }

    fn terms<B>(&self, subject: &Subject, request: &Request<B>) -> Option<Terms> {
        if self.timeout.is_none() && !self.streaming {
            return None;
        }
        let reason = match self.gateway {
            true => RefusalReason::GatewayTimeout,
            false => RefusalReason::RequestTimeout,
        };
        let time = self.timeout.flatten();
        Terms::of_route(time, !self.ignore_grpc_timeout, reason, subject, request)
    }

    fn set_deadlines<B>(&self, request: &Request<B>) {
        #[cfg(not(feature = "serve"))]
        let _ = request;
        #[cfg(feature = "serve")]
        if let Some(deadlines) = request.extensions().get::<Deadlines>() {
            if self.streaming {
                deadlines.set_read(None);
                deadlines.set_write(None);
            }
            if let Some(time) = self.timeout {
                // The route's response comes first, and names the reason.
                let head = time.and_then(|time| time.checked_add(GRACE));
                deadlines.set_response_head(head);
            }
            if let Some(set) = &self.deadlines {
                set(deadlines);
            }
        }
    }

    /// Returns the end of the response when the process leaves; `None` if no lifecycle announces that.
    fn stream<B>(&self, request: &Request<B>) -> Option<Stream> {
        let extensions = request.extensions();
        // The server's lifecycle takes precedence: a layer may have been given the phase of another process.
        let lifecycle = served::lifecycle(extensions).or_else(|| {
            let draining = extensions.get::<Draining>();
            draining.map(|draining| draining.lifecycle().clone())
        })?;
        Some(Stream {
            lifecycle,
            trailers: request.version() >= Version::HTTP_2,
        })
    }
}

/// The time from the end of the route's own time to the server's deadline for the response's head.
#[cfg(feature = "serve")]
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

impl<S: fmt::Debug> fmt::Debug for RouteService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteService")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for RouteService<S> {
    const NAME: &'static str = S::NAME;
}
