use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::body::Watcher;
use super::{StatusBody, StatusPage};
use crate::reply::get_or_head_only;
use crate::serve::Deadlines;

pub(super) const PAGE: &str = include_str!("page.html");

/// The page's own script and style and no other, by their hashes (a test says what they are), and no
/// connection but to where it came from. The icon, an empty one, keeps browsers from asking for one.
pub(super) const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
    script-src 'sha256-24gDQF90AlY8rKy4TVo4TZsKreq2P6A2DWupDLGfttY='; \
    style-src 'sha256-aPJJfu3OH8P5tQjX1VHnLVtbNrwiSUn6swPkjsbgyPY='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl StatusPage {
    fn answer<B>(&self, request: &Request<B>) -> Response<StatusBody> {
        let path = request.uri().path();
        if !matches!(path, "" | "/" | "/live" | "/snapshot") {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return get_or_head_only().map(StatusBody::whole);
        }
        match path {
            "/live" => self.live(request),
            "/snapshot" => {
                let document = StatusBody::whole(self.shared.document());
                respond(StatusCode::OK, "application/json", document)
            }
            _ => {
                let page = StatusBody::whole(PAGE);
                let mut page = respond(StatusCode::OK, "text/html; charset=utf-8", page);
                let policy = HeaderValue::from_static(POLICY);
                page.headers_mut()
                    .insert(header::CONTENT_SECURITY_POLICY, policy);
                page
            }
        }
    }

    fn live<B>(&self, request: &Request<B>) -> Response<StatusBody> {
        let body = if request.method() == Method::HEAD {
            StatusBody::nothing()
        } else {
            let Some(watcher) = Watcher::enter(&self.shared.watchers) else {
                let mut refusal =
                    plain(StatusCode::SERVICE_UNAVAILABLE, "too many watch already\n");
                let later = HeaderValue::from_static("5");
                refusal.headers_mut().insert(header::RETRY_AFTER, later);
                return refusal;
            };
            // It lasts as long as somebody watches. Who watches and reads nothing is another matter: the
            // stall deadline stays.
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
    type Future = Ready<Result<Response<StatusBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}
