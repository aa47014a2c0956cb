//! Heads: malformed, too large, too slow, or without one host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lameduck::{Limits, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Bed, NEXT, assert_refused, assert_time};
use crate::support::*;

#[tokio::test]
async fn malformed_request_line_gets_400() {
    let bed = Bed::with(Timeouts::default()).await;
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5b\x90\x9d\x9b\x72\x0b\xbc".to_vec();
    let cases: &[(&str, Vec<u8>)] = &[
        ("TLS", tls),
        ("zeros", vec![0; 64]),
        ("high bytes", vec![0xff; 64]),
        ("words", "hello there\r\n\r\n".into()),
        (
            "a PROXY header",
            format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{NEXT}").into(),
        ),
        ("HTTP/0.9", "GET /\r\n\r\n".into()),
        (
            "no such version",
            "GET / HTTP/3.0\r\nhost: a\r\n\r\n".into(),
        ),
        ("almost a preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".into()),
        ("a space first", format!(" {NEXT}").into()),
        ("no path", "GET  HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (
            "a space in the path",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        ),
        ("no method", "G{T / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n".into(),
        ),
        (
            "a folded header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n".into(),
        ),
        ("no colon", "GET / HTTP/1.1\r\nhost a\r\n\r\n".into()),
        (
            "a NUL in a value",
            "GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n".into(),
        ),
        (
            "a bare CR",
            "GET / HTTP/1.1\r\nhost: a\rx: b\r\n\r\n".into(),
        ),
    ];
    for (what, bytes) in cases {
        let ending = bed.send(bytes).await;
        assert_refused(&ending, 400, what);
        assert_time(ending.at, Duration::ZERO);
        // A connection with a good request before it ends the same way.
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        client.send(bytes).await;
        assert_refused(&client.read_until_close().await, 400, what);
    }
    assert!(bed.seen().iter().all(|seen| seen == "GET /next"));
    bed.finish().await;
}

#[tokio::test]
async fn oversized_head_gets_431() {
    let limits = Limits::default().max_header_bytes(2048);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let long = "a".repeat(4096);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    assert_refused(&bed.send(head).await, 431, "one long header");

    let many = "x-many: some bytes\r\n".repeat(90 * 2);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    assert_refused(&bed.send(head).await, 431, "many headers");

    let head = format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_refused(&bed.send(head).await, 414, "a long path");

    // A head that never ends, from a client that does not read before it has sent 5 MB.
    let endless = format!("GET / HTTP/1.1\r\nx-endless: {}", "a".repeat(5_000_000));
    assert_refused(&bed.send(endless).await, 431, "an endless header");

    // Heads up to the limit are served.
    let fits = "a".repeat(1900);
    let mut client = bed.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {fits}\r\n\r\n");
    assert_eq!(client.ask(head).await.status, 200);
    drop(client);
    assert_eq!(bed.seen().len(), 1);
    bed.finish().await;
}

#[tokio::test]
async fn head_limit_defaults_to_64_kib() {
    let bed = Bed::with(Timeouts::default()).await;
    let head = |length| {
        let long = "a".repeat(length);
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n")
    };
    assert_refused(&bed.send(head(64 * 1024)).await, 431, "over 64 KiB");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(63 * 1024)).await.status, 200);
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn too_many_headers_get_431() {
    let head = |count: usize| {
        let headers = "x: y\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
    };
    let bed = Bed::with(Timeouts::default()).await;
    assert_refused(&bed.send(head(101)).await, 431, "101, by default");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(100)).await.status, 200);
    drop(client);
    bed.finish().await;

    let limits = Limits::default().max_headers(10);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    assert_refused(&bed.send(head(11)).await, 431, "11 of 10");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(10)).await.status, 200);
    drop(client);
    bed.finish().await;
}

/// RFC 9112, 2.2: a recipient may take a single LF for the end of a line; in a head nothing is
/// ambiguous about it. In the framing of a body it may not (see below).
#[tokio::test]
async fn bare_line_feeds_end_head_lines() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert_eq!(client.ask("GET /a HTTP/1.1\nhost: a\n\n").await.status, 200);
    assert_eq!(client.ask("GET /b HTTP/1.1\nhost: a\n\n").await.status, 200);
    drop(client);
    assert_eq!(bed.seen(), ["GET /a", "GET /b"]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn trickling_heads_are_ended_and_delay_no_one() {
    let bed = Bed::in_memory(Timeouts::none().read_header(ms(500))).await;
    let mut trickles = tokio::task::JoinSet::new();
    for client in 0..40 {
        let mut slow = bed.connect().await;
        trickles.spawn(async move {
            // Half of the clients send a request first; their deadline begins with the next one.
            if client % 2 == 0 {
                assert_eq!(slow.ask(NEXT).await.status, 200);
                slow.mark();
            }
            slow.drip(NEXT, ms(50)).await
        });
    }
    let mut good = bed.connect().await;
    assert_eq!(good.ask(NEXT).await.status, 200);
    while let Some(ending) = trickles.join_next().await {
        let ending = ending.expect("no panic");
        assert_refused(&ending, 408, "a trickle");
        assert_time(ending.at, ms(500));
        good.mark();
        assert_eq!(good.ask(NEXT).await.status, 200);
        assert!(good.elapsed() < ms(400));
    }
    drop(good);
    bed.finish().await;
}

/// Asserts that the connection ended without an answer. A byte that crosses the close turns it into a reset.
#[track_caller]
fn assert_silent(ending: &Ending) {
    assert_ne!(ending.how, How::StillOpen);
    assert_eq!(ending.text(), "");
}

#[tokio::test]
async fn empty_lines_do_not_extend_deadlines() {
    let bed = Bed::with(Timeouts::none().read_header(ms(300)).idle(ms(700))).await;
    // No request ever follows.
    let fresh = async {
        let mut client = bed.connect().await;
        let ending = client.drip("\r\n".repeat(20), ms(50)).await;
        assert_silent(&ending);
        assert_time(ending.at, ms(300));
    };
    // The lines follow a request; the connection is parked meanwhile.
    let idle = async {
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        client.mark();
        let ending = client.drip("\r\n".repeat(20), ms(50)).await;
        assert_silent(&ending);
        assert_time(ending.at, ms(700));
    };
    // Empty lines before a request do no harm.
    let good = async {
        let mut client = bed.connect().await;
        for _ in 0..3 {
            client.send("\r\n\r\n").await;
            tokio::time::sleep(ms(50)).await;
            assert_eq!(client.ask(format!("\r\n{NEXT}")).await.status, 200);
        }
        client.mark();
        client.sleep_until(ms(450)).await;
        client.send("\r\n").await;
        assert_eq!(client.ask(NEXT).await.status, 200);
    };
    tokio::join!(fresh, idle, good);
    bed.finish().await;
}

/// RFC 9112, 3.2: no `Host`, or two of them, gets 400, and the service is not called.
#[tokio::test]
async fn request_needs_exactly_one_host() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\nhost: \r\n\r\n", "200 "),
        ("GET / HTTP/1.0\r\n\r\n", "200 "),
    ] {
        let called = Arc::new(AtomicUsize::new(0));
        let count = called.clone();
        let app = axum::Router::new().fallback(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { "hello" }
        });
        let (mut client, io) = tokio::io::duplex(1024);
        let connection =
            lameduck::serve_connection_with_timeouts(io, app, lameduck::Timeouts::default())
                .unwrap();
        tokio::spawn(connection);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        client.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(status), "{request:?}: {answer}");
        let served = usize::from(status == "200 ");
        assert_eq!(called.load(Ordering::Relaxed), served, "{request:?}");
    }
}
