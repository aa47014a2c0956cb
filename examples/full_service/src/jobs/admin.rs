//! The jobs on the admin port: their state, and another chance for dead ones.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tracing::{Instrument, error, info};
use uuid::Uuid;

use crate::store::{Change, Store, StoreError};

/// Returns the routes `GET /jobs/{id}` and `POST /jobs/{id}/retry`.
pub fn router(store: Store) -> Router {
    Router::new()
        .route("/jobs/{id}", get(state))
        .route("/jobs/{id}/retry", post(retry))
        .with_state(store)
}

async fn state(State(store): State<Store>, Path(id): Path<Uuid>) -> Response {
    match store.job_state(id).await {
        Ok(Some(state)) => answer(StatusCode::OK, &state),
        Ok(None) => answer(StatusCode::NOT_FOUND, "missing"),
        Err(error) => failed(&error),
    }
}

async fn retry(State(store): State<Store>, Path(id): Path<Uuid>) -> Response {
    let retry = async move {
        let change = store.retry(id).await;
        if let Ok(Change::Done(())) = change {
            info!(job_id = %id, "a dead job is queued again");
        }
        change
    };
    // A task of its own: a client that leaves drops the handler, and a change that is made has its line in the log.
    match tokio::spawn(retry.in_current_span()).await {
        Ok(Ok(Change::Done(()))) => answer(StatusCode::ACCEPTED, "queued"),
        Ok(Ok(Change::Missing)) => answer(StatusCode::NOT_FOUND, "missing"),
        Ok(Ok(Change::Refused(code))) => answer(StatusCode::CONFLICT, code),
        Ok(Ok(Change::Stale)) => answer(StatusCode::CONFLICT, "stale"),
        Ok(Err(error)) => failed(&error),
        Err(error) => {
            error!(job_id = %id, %error, "a retry came to no end");
            answer(StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

fn answer(status: StatusCode, state: &str) -> Response {
    (status, Json(json!({ "state": state }))).into_response()
}

fn failed(error: &StoreError) -> Response {
    error!(%error, "a job could not be read or written");
    match error {
        StoreError::Away(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "away"),
        StoreError::Conflict(_) | StoreError::Internal(_) => {
            answer(StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}
