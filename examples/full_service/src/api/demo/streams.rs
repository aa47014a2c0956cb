//! Long answers: one as fast as the client reads, one at its own pace.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Query,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::time::sleep;

use super::basic::too_much;

const MOST_MEGABYTES: u64 = 1_024;
const MOST_CHUNKS: u64 = 10_000;
const LONGEST_PAUSE_MS: u64 = 60_000;

const CHUNK_LEN: usize = 64 * 1024;
const CHUNKS_PER_MEGABYTE: u64 = (1024 * 1024 / CHUNK_LEN) as u64;

/// The one chunk of every response: a gigabyte costs no memory.
static CHUNK: [u8; CHUNK_LEN] = [b'.'; CHUNK_LEN];

#[derive(Deserialize)]
pub struct Big {
    #[serde(default = "one")]
    mb: u64,
}

fn one() -> u64 {
    1
}

/// Sends `mb` mebibytes, as fast as the client reads. The length is declared, so a client can detect a cut.
pub async fn big(Query(Big { mb }): Query<Big>) -> Response {
    if mb > MOST_MEGABYTES {
        return too_much("mb", MOST_MEGABYTES);
    }
    let chunks = stream::iter(0..mb * CHUNKS_PER_MEGABYTE)
        .map(|_| Ok::<_, Infallible>(Bytes::from_static(&CHUNK)));
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, (mb * 1024 * 1024).to_string()),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

#[derive(Deserialize)]
pub struct Chunks {
    #[serde(default = "ten")]
    n: u64,
    #[serde(default = "half_a_second")]
    ms: u64,
}

fn ten() -> u64 {
    10
}

fn half_a_second() -> u64 {
    500
}

/// Sends `n` lines, `ms` milliseconds apart. It ignores the drain: it finishes its work, and the drain waits for it.
pub async fn stream(Query(Chunks { n, ms }): Query<Chunks>) -> Response {
    if n > MOST_CHUNKS {
        return too_much("n", MOST_CHUNKS);
    }
    if ms > LONGEST_PAUSE_MS {
        return too_much("ms", LONGEST_PAUSE_MS);
    }
    let lines = stream::iter(1..=n).then(move |line| async move {
        if line > 1 {
            sleep(Duration::from_millis(ms)).await;
        }
        Ok::<_, Infallible>(format!("chunk {line} of {n}\n"))
    });
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (headers, Body::from_stream(lines)).into_response()
}
