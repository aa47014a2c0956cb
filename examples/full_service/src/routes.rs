//! The routes, and the layers around them.

mod basic;
mod health;
mod sse;
mod streams;
mod websocket;
mod whoami;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use lameduck::Stack;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    trace::{DefaultMakeSpan, DefaultOnFailure, TraceLayer},
};
use tracing::Level;

use crate::state::AppState;

pub fn router(state: AppState, stack: Stack) -> Router {
    let layers = ServiceBuilder::new()
        .layer(stack)
        .layer(
            // Logs what failed, with the request it was for; with LOG_LEVEL=debug every request.
            TraceLayer::new_for_http()
                .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
                .on_failure(DefaultOnFailure::new().level(Level::WARN)),
        )
        // A handler that panics answers 500, and its connection lives.
        .layer(CatchPanicLayer::new());

    let app = Router::new()
        .route("/", get(basic::index))
        .route("/slow", get(basic::slow))
        .route("/echo", post(basic::echo))
        .route("/big", get(streams::big))
        .route("/stream", get(streams::stream))
        .route("/sse", get(sse::events))
        .route("/whoami", get(whoami::whoami))
        .route("/ws", get(websocket::upgrade))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such route\n") })
        .layer(layers);

    // Probes go past the layers: a draining service is still alive, must be able to say so, and
    // does not count its probes as work.
    let health = Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .with_state(state);

    app.merge(health)
}
