//! The routes, and the layers around them.

mod basic;
mod sse;
mod streams;
mod websocket;
mod whoami;

use std::time::Duration;

use axum::{
    Extension, Router,
    http::{Request, StatusCode},
    routing::{any, get, post},
};
use lameduck::request_id::RequestId;
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tracing::{Span, field, info_span};

use crate::layers::Layers;

pub fn router(layers: Layers, websocket_idle: Duration) -> Router {
    let idle = Extension(websocket::Idle(websocket_idle));
    // The access log has a line for each request; a handler's own lines have the request's id, too.
    let span = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(())
        .on_failure(());
    let layers = ServiceBuilder::new()
        // Probes pass all other layers: a draining service is still alive, must be able to report so, and does not
        // count its probes as work.
        .layer(layers.health)
        .layer(layers.metrics)
        .layer(layers.request_id)
        .layer(layers.access_log)
        .layer(layers.stack)
        .layer(span)
        // A handler that panics answers 500, and its connection continues.
        .layer(CatchPanicLayer::new());

    Router::new()
        .route("/", get(basic::index))
        .route("/slow", get(basic::slow))
        .route("/echo", post(basic::echo))
        .route("/big", get(streams::big))
        .route("/stream", get(streams::stream))
        .route("/sse", get(sse::events))
        .route("/whoami", get(whoami::whoami))
        // GET on HTTP/1, CONNECT on HTTP/2 (RFC 8441).
        .route("/ws", any(websocket::upgrade).layer(idle))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such route\n") })
        .layer(layers)
}

fn span<B>(request: &Request<B>) -> Span {
    let id = RequestId::of(request.extensions());
    info_span!("request", request_id = id.map(field::display))
}
