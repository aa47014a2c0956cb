//! Two questions that must not be mixed: shall this process live, and shall it get traffic?

use axum::{
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::IntoResponse,
};

use crate::state::AppState;

/// Alive as long as it can answer. It looks at nothing else: a database that is down is no reason
/// to kill every instance that waits for it.
pub async fn live() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], "alive\n")
}

/// Ready only in the phase of that name, and 503 in every other. The body says which it is.
pub async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    let phase = state.phase();
    let status = if state.lifecycle().is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(CACHE_CONTROL, "no-store")], format!("{phase}\n"))
}
