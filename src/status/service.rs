use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::body::Watcher;
use super::{StatusBody, StatusPage};
use crate::deadlines::Deadlines;
use crate::reply::get_or_head_only;

pub(super) const PAGE: &str = include_str!("page.html");

/// The Content-Security-Policy: only the page's own script and style, by their hashes (a test computes them), and
/// connections only to its origin. The icon, an empty one, keeps browsers from requesting one.
pub(super) const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
    script-src 'sha256-8Wh2JKUoYGSumXg9QBXokUYM9EChtbemMFNFZf4vlGM='; \
    style-src 'sha256-aPJJfu3OH8P5tQjX1VHnLVtbNrwiSUn6swPkjsbgyPY='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl StatusPage {
    fn answer<B>(&self, request: &Request<B>) -> StatusFuture {
        if let Err(foreign) = self.shared.hosts.check(request) {
            return StatusFuture::now(plain(foreign.status(), foreign.text()));
        }
        let path = request.uri().path();
        if !matches!(path, "" | "/" | "/live" | "/snapshot") {
            return StatusFuture::now(plain(StatusCode::NOT_FOUND, "not found\n"));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return StatusFuture::now(get_or_head_only().map(StatusBody::whole));
        }
        StatusFuture::now(match path {
            "/live" => self.live(request),
            "/snapshot" => {
                let shared = self.shared.clone();
                return StatusFuture(Answer::Later(Box::pin(async move {
                    let document = StatusBody::whole(shared.document().await);
                    respond(StatusCode::OK, "application/json", document)
                })));
            }
            _ => {
                let page = StatusBody::whole(PAGE);
                let mut page = respond(StatusCode::OK, "text/html; charset=utf-8", page);
                let policy = HeaderValue::from_static(POLICY);
                page.headers_mut()
                    .insert(header::CONTENT_SECURITY_POLICY, policy);
                page
            }
        })
    }

    fn live<B>(&self, request: &Request<B>) -> Response<StatusBody> {
        let body = if request.method() == Method::HEAD {
            StatusBody::nothing()
        } else {
            let Some(watcher) = Watcher::enter(&self.shared.watchers) else {
                let mut refusal = plain(StatusCode::SERVICE_UNAVAILABLE, "too many watchers\n");
                let later = HeaderValue::from_static("5");
                refusal.headers_mut().insert(header::RETRY_AFTER, later);
                return refusal;
            };
            // The stream lasts as long as its watcher. A watcher that stops reading is covered by the stall deadline,
            // which stays.
            if let Some(deadlines) = request.extensions().get::<Deadlines>() {
                deadlines.set_write(None);
            }
            StatusBody::live(self.shared.clone(), watcher)
        };
        respond(StatusCode::OK, "text/event-stream", body)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<StatusBody> {
    let body = StatusBody::whole(text.as_bytes());
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: StatusBody) -> Response<StatusBody> {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::from_iter(headers);
    response
}

impl<B> Service<Request<B>> for StatusPage {
    type Response = Response<StatusBody>;
    type Error = Infallible;
    type Future = StatusFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(&request)
    }
}

/// The response future of a [`StatusPage`].
pub struct StatusFuture(Answer);

enum Answer {
    Now(Ready<Response<StatusBody>>),
    Later(Pin<Box<dyn Future<Output = Response<StatusBody>> + Send>>),
}

impl StatusFuture {
    fn now(response: Response<StatusBody>) -> Self {
        StatusFuture(Answer::Now(ready(response)))
    }
}

impl Future for StatusFuture {
    type Output = Result<Response<StatusBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.0 {
            Answer::Now(response) => Pin::new(response).poll(cx),
            Answer::Later(response) => response.as_mut().poll(cx),
        };
        response.map(Ok)
    }
}

impl fmt::Debug for StatusFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusFuture").finish_non_exhaustive()
    }
}
