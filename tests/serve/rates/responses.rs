//! Minimum rates of responses, and the deadline of the response's head.

use std::time::Duration;

use lameduck::Timeouts;
use lameduck::events::{CloseReason, TimeoutKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{KIB, SLOW_READER, assert_within, connect, post, read_slowly, rest, s, send_slowly};

// === responses ===

const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn reader_of_a_byte_each_9_s_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    let began = Instant::now();
    read_slowly(&mut client, 1, s(9), 20).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinWriteRate));
    assert_within(at - began, SLOW_READER);
}

#[tokio::test(start_paused = true)]
async fn stopped_reader_is_cut_at_the_stall() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    let began = Instant::now();
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::WriteStall));
    assert_within(at - began, s(30));
}

#[tokio::test(start_paused = true)]
async fn download_that_slows_to_a_trickle_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    // 20 kB/s for 40 s.
    read_slowly(&mut client, 20_000, s(1), 40).await;
    let began = Instant::now();
    read_slowly(&mut client, 1, s(9), 20).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinWriteRate));
    // The expected time is the rest of the window that was met, and one that was not.
    assert!(at - began <= s(21), "{:?}", at - began);
}

#[tokio::test(start_paused = true)]
async fn download_of_300_bytes_a_second_is_served() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    read_slowly(&mut client, 300, s(1), 120).await;
    assert!(!ended.is_finished());
    let text = rest(&mut client).await;
    assert_eq!(text.len() + 120 * 300, (1 << 20) + head_length(&text));
    assert_eq!(ended.await.unwrap().0, CloseReason::Ended);
}

/// Returns the bytes beyond the body; the head has been read by then.
fn head_length(_rest: &str) -> usize {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n";
    HEAD.len() + "date: Thu, 26 Nov 2026 17:15:15 GMT\r\n".len()
}

#[tokio::test(start_paused = true)]
async fn silence_between_events_is_not_charged_to_the_reader() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client
        .write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    let until = Instant::now() + s(130);
    while let Ok(read) = tokio::time::timeout_at(until, client.read_buf(&mut text)).await {
        assert!(read.unwrap() > 0, "it was cut");
    }
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches("data: x").count(), 7, "{text}");
    assert!(!ended.is_finished());
}

// === the response's head ===

async fn ask(path: &str) -> (String, Duration) {
    let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
    let began = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    let status = String::from_utf8_lossy(&answer[9..]).into_owned();
    (status, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn handler_that_does_not_begin_its_answer_is_cancelled() {
    let (status, took) = ask("/hang").await;
    assert_eq!(status, "503");
    assert_within(took, s(60));
    for path in ["/long-poll", "/patient"] {
        let (status, took) = ask(path).await;
        assert_eq!(status, "200", "{path}");
        assert_within(took, s(90));
    }
}

#[tokio::test(start_paused = true)]
async fn moving_upload_does_not_spend_the_handlers_time() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/then-hang", 100 * KIB).as_bytes())
        .await
        .unwrap();
    send_slowly(&mut client, &[b'x'; KIB], 100, s(1)).await;
    let began = Instant::now();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 503"));
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::ResponseHead));
    // The last second of the upload was a pause.
    assert_within(at - began, s(59));
}

#[tokio::test(start_paused = true)]
async fn handler_that_reads_for_a_long_time_is_not_late() {
    // Each read takes 5 s: the client is never waited for, and the whole takes more than a minute.
    let (mut client, _ended) = connect(Timeouts::default(), 512);
    client
        .write_all(post("/pausing", 8 * KIB).as_bytes())
        .await
        .unwrap();
    client.write_all(&[b'x'; 8 * KIB]).await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}
