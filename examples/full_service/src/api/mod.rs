//! HTTP: the routes, and the layers right around them. There is no SQL here.

pub mod cors;
pub mod demo;
mod envelope;
mod extract;
mod fields;
mod json;
mod openapi;
mod orders;
pub mod panics;
mod problem;
#[cfg(test)]
mod tests;
mod users;

use std::time::Duration;

use axum::{
    Router,
    http::{Request, StatusCode},
};
use lameduck::request_id::RequestId;
use tower::{ServiceBuilder, layer::layer_fn};
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tracing::{Span, field, info_span};

use self::{cors::Origins, problem::Translate};
use crate::{flags::Flags, store::Store};

/// The state of all handlers. It is cheap to clone: every part is a handle.
#[derive(Clone)]
pub struct ApiState {
    pub store: Store,
    pub flags: Flags,
    pub websocket_idle: Duration,
}

/// Returns all routes, without the layers of the server.
pub fn router(state: ApiState) -> Router {
    let (v1, document) = openapi::routes();
    let demo = demo::router(state.websocket_idle);
    let routes = v1.with_state(state).merge(openapi::route(&document));
    within(routes.merge(demo))
}

/// Returns these routes within the layers that every handler needs.
fn within(routes: Router) -> Router {
    // The access log has a line for each request; a handler's own lines have the request's id, too.
    let span = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(())
        .on_failure(());
    // At once: each `layer` of a router is a clone of the service and a box for every request.
    let layers = ServiceBuilder::new()
        .layer(span)
        // The connection of a handler that panics continues.
        .layer(CatchPanicLayer::custom(panics::answer));
    routes
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such route\n") })
        .layer(layers)
}

/// Adds the outermost layers, around those of the server: problem details for every refusal, and CORS, so that a page
/// may read them.
pub fn around(app: Router, origins: Option<&Origins>) -> Router {
    let app = app.layer(layer_fn(Translate::new));
    match origins {
        Some(origins) => app.layer(origins.layer()),
        None => app,
    }
}

/// Returns the span of a request; none if there is one from further out, which gets the request's id.
fn span<B>(request: &Request<B>) -> Span {
    let id = RequestId::of(request.extensions());
    match (request.extensions().get::<Span>(), id) {
        (None, id) => request_span(id),
        (Some(outer), Some(id)) => {
            outer.record("request_id", field::display(id));
            Span::none()
        }
        (Some(_), None) => Span::none(),
    }
}

/// Returns a span whose fields are in each log line within it.
pub fn request_span(id: Option<&RequestId>) -> Span {
    info_span!(
        "request",
        request_id = id.map(field::display),
        trace_id = field::Empty,
        span_id = field::Empty,
    )
}
