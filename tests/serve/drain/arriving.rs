//! Connections and requests that arrive as the drain begins, whole or in part.

use std::io::Write;
use std::time::Duration;

use lameduck::Limits;
use tokio::io::AsyncReadExt;

use super::{GET, HALVES, hello, the_rest_is_answered, unanswered};
use crate::support::{How, Raw, Server, Setup, answers, ms, within};

// === fresh connections ===

#[tokio::test]
async fn queued_connections_are_answered() {
    expect_queued_connections_answered(Limits::default()).await;
}

#[tokio::test]
async fn queued_requests_are_answered_without_a_window() {
    expect_queued_connections_answered(Limits::default().drain_window(Duration::ZERO)).await;
}

async fn expect_queued_connections_answered(limits: Limits) {
    let mut server = Setup::new().limits(limits).start(hello()).await;
    // Nothing is awaited here: the accept loop, on this thread, cannot run.
    let connections: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
            stream.write_all(GET.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.open(), 0);
    server.handle.drain_now();
    for stream in connections {
        stream.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        within(crate::support::LIMIT, "an answer", read)
            .await
            .unwrap();
        let answers = answers(&bytes);
        assert_eq!(answers.len(), 1);
        assert_eq!(
            (answers[0].status, answers[0].text().as_str()),
            (200, "hello")
        );
        assert!(answers[0].closes());
    }
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (50, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_sent_as_the_drain_begins_is_answered() {
    for round in 0..40u64 {
        let mut server = Setup::new().start(hello()).await;
        let mut client = server.connect().await;
        let handle = server.handle.clone();
        // Both happen at once, or one slightly before the other.
        let drain = tokio::spawn(async move {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            handle.drain_now();
        });
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        client.send(GET).await;
        let ending = client.read_until_close().await;
        drain.await.unwrap();
        assert_eq!(ending.how, How::Fin, "round {round}");
        assert_eq!(ending.answer().status, 200, "round {round}");
        let report = server.report().await;
        assert!(report.is_clean(), "round {round}: {report}");
        assert_eq!(report.requests, 1, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_connection_has_the_window_to_send_its_request() {
    let mut server = Setup::new().start_in_memory(hello()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    server.handle.drain_now();
    // The default window is 500 ms.
    tokio::time::sleep(ms(490)).await;
    let answer = client.ask(GET).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn window_begins_with_the_drain_not_the_connection() {
    for first in ["", "P"] {
        let limits = Limits::default().drain_window(ms(300));
        let mut server = Setup::new().limits(limits).start(hello()).await;
        let mut client = server.connect().await;
        client.send(first).await;
        server.until_open(1).await;
        tokio::time::sleep(ms(400)).await;
        server.handle.drain_now();
        tokio::time::sleep(ms(60)).await;
        let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        client.send(&request[first.len()..]).await;
        let answer = client.read_response().await;
        assert_eq!(answer.status, 200, "after {first:?}");
        assert!(answer.closes(), "after {first:?}");
        assert!(server.report().await.is_clean(), "after {first:?}");
    }
}

#[tokio::test]
async fn silent_fresh_connection_is_closed_after_the_window() {
    let limits = Limits::default().drain_window(ms(200));
    let mut server = Setup::new().limits(limits).start(hello()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    client.mark();
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(700), "{report}");
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
}

// === half a head ===

/// Returns a connection with a partial head on it, after so many answered requests: fresh, idle or busy before.
async fn with_half_a_head(server: &Server, before: usize, half: &str) -> Raw {
    let mut client = server.connect().await;
    for _ in 0..before {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    client.send(half).await;
    server.until_open(1).await;
    // The wait is long enough to have it read; nothing depends on it.
    tokio::time::sleep(ms(30)).await;
    client
}

#[tokio::test]
async fn partial_head_completed_in_the_window_is_answered() {
    for before in [0, 1, 3] {
        for half in HALVES {
            let mut server = Setup::new().start(hello()).await;
            let mut client = with_half_a_head(&server, before, half).await;
            server.handle.drain_now();
            tokio::time::sleep(ms(80)).await;
            the_rest_is_answered(&mut client, half, before).await;
            let report = server.report().await;
            assert!(report.is_clean(), "{half:?} after {before}: {report}");
        }
    }
}

#[tokio::test]
async fn partial_head_is_closed_after_the_window() {
    for before in [0, 1, 3] {
        for half in ["P", "GET / HTTP/1.1\r\nho"] {
            let limits = Limits::default().drain_window(ms(150));
            let mut server = Setup::new().limits(limits).start(hello()).await;
            let mut client = with_half_a_head(&server, before, half).await;
            client.mark();
            server.handle.drain_now();
            let ending = client.read_until_close().await;
            let case = format!("{half:?} after {before}");
            unanswered(&ending);
            assert!(ending.at >= ms(100), "{case}: {ending:?}");
            assert!(ending.at < ms(1_000), "{case}: {ending:?}");
            drop(client);
            let report = server.report().await;
            assert!(report.is_clean(), "{case}: {report}");
        }
    }
}

#[tokio::test]
async fn trickling_head_does_not_extend_the_window() {
    let limits = Limits::default().drain_window(ms(200));
    let mut server = Setup::new().limits(limits).start(hello()).await;
    let mut client = with_half_a_head(&server, 0, "GET / HTTP/1.1\r\n").await;
    client.mark();
    server.handle.drain_now();
    while client.elapsed() < ms(1_500) {
        if client.try_send("a: b\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(ms(25)).await;
    }
    assert!(
        client.elapsed() < ms(1_400),
        "dripping for {:?}",
        client.elapsed()
    );
    assert!(server.report().await.is_clean());
}
