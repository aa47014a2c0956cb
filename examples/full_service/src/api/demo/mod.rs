//! Routes for load and for tests. A service of your own has none of them.

mod basic;
mod sse;
mod streams;
mod websocket;
mod whoami;

use std::time::Duration;

use axum::{
    Extension, Router,
    routing::{any, get, post},
};

pub fn router(websocket_idle: Duration) -> Router {
    let idle = Extension(websocket::Idle(websocket_idle));
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
}
