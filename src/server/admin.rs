use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower_layer::Layer;
use tower_service::Service;

use crate::allowed_hosts::AllowedHosts;
use crate::error::BoxError;
use crate::health::{Details, Health, HealthService};
#[cfg(feature = "metrics")]
use crate::metrics::MetricsEndpoint;
#[cfg(feature = "status")]
use crate::status::StatusPage;

type AdminBody = UnsyncBoxBody<Bytes, BoxError>;

/// The pages of the admin port: `/metrics` (feature `metrics`), `/healthz`, `/readyz` and `/startupz` with their details,
/// and everywhere else the page to watch a drain (feature `status`). For a port that only operators reach, and that
/// [observes](crate::serve::Serve::observe) the shutdown.
#[derive(Clone)]
pub struct AdminService(HealthService<Pages>);

#[derive(Clone)]
struct Pages {
    #[cfg(feature = "metrics")]
    metrics: MetricsEndpoint,
    #[cfg(feature = "status")]
    page: StatusPage,
}

impl AdminService {
    pub(super) fn new(
        health: &Health,
        #[cfg(feature = "metrics")] metrics: MetricsEndpoint,
        #[cfg(feature = "status")] page: StatusPage,
        hosts: AllowedHosts,
    ) -> Self {
        let details = Details::always().allowed_hosts(hosts.clone());
        AdminService(health.clone().details(details).layer().layer(Pages {
            #[cfg(feature = "metrics")]
            metrics: metrics.allowed_hosts(hosts.clone()),
            #[cfg(feature = "status")]
            page: page.allowed_hosts(hosts),
        }))
    }
}

fn boxed<B>(answer: Result<Response<B>, Infallible>) -> Response<AdminBody>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let response = match answer {
        Ok(response) => response,
        Err(never) => match never {},
    };
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

impl<B: Send + 'static> Service<Request<B>> for Pages {
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AdminBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        #[cfg(feature = "metrics")]
        if request.uri().path() == "/metrics" {
            let answer = self.metrics.call(request);
            return Box::pin(async move { Ok(boxed(answer.await)) });
        }
        #[cfg(feature = "status")]
        {
            let answer = self.page.call(request);
            Box::pin(async move { Ok(boxed(answer.await)) })
        }
        #[cfg(not(feature = "status"))]
        {
            let _ = request;
            Box::pin(async {
                let mut response = Response::new(http_body_util::Full::from("not found\n"));
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                Ok(boxed(Ok(response)))
            })
        }
    }
}

impl<B: Send + 'static> Service<Request<B>> for AdminService {
    type Response = Response<crate::reply::ReplyBody<AdminBody>>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AdminFuture {
        AdminFuture(Box::pin(self.0.call(request)))
    }
}

type Answer = Result<Response<crate::reply::ReplyBody<AdminBody>>, Infallible>;

/// The answer of an [`AdminService`].
pub struct AdminFuture(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl Future for AdminFuture {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").finish_non_exhaustive()
    }
}

/// The service's own routes on the admin port.
#[cfg(feature = "axum")]
#[derive(Default)]
pub(super) struct Routes(axum::Router);

#[cfg(feature = "axum")]
impl Routes {
    /// Gives the routes the protection that the pages have.
    pub(super) fn new(routes: axum::Router, hosts: AllowedHosts) -> Self {
        use axum::extract::Request;
        use axum::middleware::{Next, from_fn};
        use axum::response::IntoResponse;

        Routes(routes.layer(from_fn(move |request: Request, next: Next| {
            let checked = hosts.check(&request);
            async move {
                match checked {
                    Ok(()) => next.run(request).await,
                    Err(foreign) => (foreign.status(), foreign.text()).into_response(),
                }
            }
        })))
    }

    pub(super) fn before(self, pages: AdminService) -> axum::Router {
        self.0.fallback_service(pages)
    }
}
