use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::report::{HealthReport, Status};
use super::{Health, json};
use crate::reply::only;

/// The kind of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Liveness,
    Readiness,
    Startup,
}

/// A response that is ready, or that waits for the checks.
pub(crate) enum Pending {
    Now(Option<Response<Bytes>>),
    /// Boxed: few probes find the results stale, and every request through the layer would carry the size.
    Checks(Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>),
}

/// The form of the response.
struct Form {
    options: bool,
    details: bool,
    head_only: bool,
    /// The request's own map, cleared: the response's need not be allocated.
    headers: HeaderMap,
}

impl Probe {
    pub(super) fn answer<B>(self, health: &Health, request: &mut Request<B>) -> Pending {
        let head_only = match *request.method() {
            Method::GET => false,
            // HAProxy's `option httpchk` sends OPTIONS and looks at the status.
            Method::HEAD | Method::OPTIONS => true,
            _ => return Pending::Now(Some(only("GET, HEAD, OPTIONS"))),
        };
        let options = request.method() == Method::OPTIONS;
        let details = health.shared.details.shown_to(request);
        let mut headers = std::mem::take(request.headers_mut());
        headers.clear();
        let form = Form {
            options,
            details,
            head_only,
            headers,
        };
        let report = match self {
            Probe::Liveness => Some(health.liveness_report()),
            Probe::Startup => Some(health.startup_report()),
            Probe::Readiness => health.readiness_now(),
        };
        match report {
            Some(report) => Pending::Now(Some(form.spell(&report))),
            None => {
                let health = health.clone();
                Pending::Checks(Box::pin(async move {
                    form.spell(&health.readiness_report().await)
                }))
            }
        }
    }
}

impl Form {
    fn spell(self, report: &HealthReport) -> Response<Bytes> {
        let mut body = if self.details {
            Bytes::from(report.to_json())
        } else {
            Bytes::from_static(json::brief(report.status, report.phase).as_bytes())
        };
        let mut headers = self.headers;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.details {
            let policy = HeaderName::from_static("cross-origin-resource-policy");
            headers.insert(policy, HeaderValue::from_static("same-origin"));
            let nosniff = HeaderValue::from_static("nosniff");
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        }
        if self.options {
            headers.insert(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, OPTIONS"),
            );
            headers.remove(header::CONTENT_TYPE);
            body = Bytes::new();
        } else if self.head_only {
            // The length that GET would have sent (RFC 9110, 9.3.2); the empty body would give 0.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            body = Bytes::new();
        }
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        if matches!(report.status, Status::Fail | Status::Unknown) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

impl Pending {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Response<Bytes>> {
        match self {
            Pending::Now(answer) => Poll::Ready(answer.take().expect("polled after it was ready")),
            Pending::Checks(answer) => answer.as_mut().poll(cx),
        }
    }
}

/// The response future of a [`HealthEndpoint`](super::HealthEndpoint).
pub struct HealthAnswer {
    pub(super) pending: Pending,
}

impl Future for HealthAnswer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.pending.poll(cx));
        Poll::Ready(Ok(answer.map(Full::new)))
    }
}

impl fmt::Debug for HealthAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthAnswer").finish_non_exhaustive()
    }
}
