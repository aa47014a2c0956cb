//! Short answers, slow answers, and an echo.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::sleep;

/// The longest wait, above every default deadline, so that each can be seen at work.
const LONGEST_MS: u64 = 60_000;

pub async fn index() -> &'static str {
    "lameduck full service\n"
}

#[derive(Deserialize)]
pub struct Slow {
    #[serde(default = "one_second")]
    ms: u64,
}

fn one_second() -> u64 {
    1_000
}

/// Answers after `ms` milliseconds.
pub async fn slow(Query(Slow { ms }): Query<Slow>) -> Response {
    if ms > LONGEST_MS {
        return too_much("ms", LONGEST_MS);
    }
    sleep(Duration::from_millis(ms)).await;
    format!("slept {ms} ms\n").into_response()
}

/// Streams the body back with its content type, one piece at a time.
pub async fn echo(headers: HeaderMap, body: Body) -> Response {
    let content_type = headers
        .get(CONTENT_TYPE)
        .cloned()
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

/// Refuses a parameter above the limit of the route.
pub fn too_much(parameter: &str, limit: u64) -> Response {
    let text = format!("{parameter} must be at most {limit}\n");
    (StatusCode::BAD_REQUEST, text).into_response()
}
