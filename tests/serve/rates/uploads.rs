//! Minimum rates of request bodies.

use lameduck::events::{CloseReason, TimeoutKind};
use lameduck::{MinRate, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::{KIB, SLOW_BODY, assert_within, connect, post, rest, s, send_slowly};

#[tokio::test(start_paused = true)]
async fn upload_of_a_byte_each_9_s_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client.write_all(post("/", 100).as_bytes()).await.unwrap();
    let began = Instant::now();
    send_slowly(&mut client, b"x", 3, s(9)).await;
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.ends_with("too slow"), "{text}");
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    // The answer lingers for half a second.
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn upload_of_300_bytes_a_second_is_served() {
    let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/", 36_000).as_bytes())
        .await
        .unwrap();
    send_slowly(&mut client, &[b'x'; 300], 120, s(1)).await;
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn minimum_rate_is_exact_to_a_byte_a_second() {
    for (rate, lives) in [(241, true), (239, false)] {
        let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
        client
            .write_all(post("/", rate * 60).as_bytes())
            .await
            .unwrap();
        send_slowly(&mut client, &vec![b'x'; rate], 60, s(1)).await;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        let status = if lives {
            b"HTTP/1.1 200"
        } else {
            b"HTTP/1.1 408"
        };
        assert_eq!(&answer, status, "{rate} B/s");
        drop(client);
        ended.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn fast_start_buys_no_slow_rest() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/", 2 << 20).as_bytes())
        .await
        .unwrap();
    client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    let began = Instant::now();
    send_slowly(&mut client, b"x", 5, s(9)).await;
    rest(&mut client).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn pause_counts_as_stall_not_as_rate() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client.write_all(post("/", 6_000).as_bytes()).await.unwrap();
    // As through a tunnel: nothing for 29 s, and then everything due.
    for _ in 0..2 {
        sleep(s(29)).await;
        client.write_all(&[b'x'; 2_999]).await.unwrap();
    }
    let began = Instant::now();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408"));
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::ReadStall));
    assert_within(at - began, s(30));

    // Without a stall the rate counts silence too.
    let timeouts = Timeouts::none().min_read_rate(MinRate::new(240));
    let (mut client, ended) = connect(timeouts, 64 * KIB);
    client.write_all(post("/", 6_000).as_bytes()).await.unwrap();
    let began = Instant::now();
    rest(&mut client).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn slow_handler_is_not_charged_to_the_client() {
    let (mut client, _ended) = connect(Timeouts::default(), 4 * KIB);
    client
        .write_all(post("/pausing", 64 * KIB).as_bytes())
        .await
        .unwrap();
    client.write_all(&[b'x'; 64 * KIB]).await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn clock_of_a_waiting_client_begins_with_100_continue() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let began = Instant::now();
    send_slowly(&mut client, b"x", 2, s(9)).await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408"));
    assert_within(ended.await.unwrap().1 - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn stopped_runtime_cuts_no_one() {
    let timeouts = Timeouts::none().min_read_rate(MinRate::new(240));
    let (mut client, _ended) = connect(timeouts, 64 * KIB);
    client
        .write_all(post("/", 24_000).as_bytes())
        .await
        .unwrap();
    sleep(s(6)).await;
    // The process stops for a minute; the client's bytes arrive right after.
    tokio::time::advance(s(60)).await;
    sleep(s(1)).await;
    for _ in 0..8 {
        client.write_all(&[b'x'; 3_000]).await.unwrap();
        sleep(s(10)).await;
    }
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn unread_body_has_the_same_deadlines() {
    for (drip, why) in [(0, TimeoutKind::ReadStall), (4, TimeoutKind::MinReadRate)] {
        let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
        client
            .write_all(post("/leave", 1_000).as_bytes())
            .await
            .unwrap();
        let began = Instant::now();
        send_slowly(&mut client, b"x", drip, s(9)).await;
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"));
        let (ended, at) = ended.await.unwrap();
        assert_eq!(ended, CloseReason::Timeout(why));
        assert!(at - began <= s(31), "{:?}", at - began);
    }
}

#[tokio::test(start_paused = true)]
async fn handler_moves_its_own_rates() {
    let drip = async |path: &str, bytes: &[u8], count| {
        let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
        let head = post(path, bytes.len() * count);
        client.write_all(head.as_bytes()).await.unwrap();
        send_slowly(&mut client, bytes, count, s(9)).await;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    assert_eq!(drip("/", b"x", 20).await, "408");
    assert_eq!(drip("/lenient", b"x", 20).await, "200");
    // 500 B/s.
    assert_eq!(drip("/", &[b'x'; 4_500], 20).await, "200");
    assert_eq!(drip("/strict", &[b'x'; 4_500], 20).await, "408");
}
