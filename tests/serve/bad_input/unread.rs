//! Bodies that the handler does not read: discarded if small, refused if large.

use std::time::Duration;

use bytes::Bytes;
use lameduck::{Limits, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Bed, DISCARD, NEXT, SMUGGLED, assert_refused, assert_time, chunked, post, requests};
use crate::support::*;

#[tokio::test]
async fn small_unread_body_is_discarded_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    let mut asked = 0;
    for path in ["/ignore", "/refuse", "/none", "/half"] {
        for length in [1, SMUGGLED.len(), 1000, 65_536, DISCARD] {
            // The rest arrives at once, or while the answer is being sent or is read already.
            let body = requests(length);
            let whole = post(path, length, &body);
            let head = whole.len() - length;
            for cut in [whole.len(), head, head + length / 2] {
                client.send(&whole[..cut]).await;
                // A handler that waits for 100 bytes gets them before it answers.
                let early = cut < whole.len() && (path != "/half" || cut - head >= 100);
                if early {
                    let answer = client.read_response().await;
                    assert!(!answer.closes(), "{path} {length} {cut}: {answer:?}");
                    client.send(&whole[cut..]).await;
                } else {
                    client.send(&whole[cut..]).await;
                    let answer = client.read_response().await;
                    assert!(!answer.closes(), "{path} {length} {cut}: {answer:?}");
                }
                let next = client.ask(NEXT).await;
                assert_eq!(next.status, 200, "after {path} {length} {cut}");
                asked += 2;
            }
        }
    }
    drop(client);
    assert_eq!(bed.seen().len(), asked);
    bed.finish().await;
}

/// The end of a discarded body and the next head arrive in one segment: discarding stops at the end of its own body,
/// and the next request has its own body, unread or late.
#[tokio::test]
async fn request_behind_a_discarded_body_keeps_its_own_body() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let mut client = bed.connect().await;
    let length = SMUGGLED.len();
    client.send(post("/ignore", length, "")).await;
    for round in 0..5 {
        assert_eq!(client.read_response().await.text(), "ok", "{round}");
        let behind = [SMUGGLED.as_bytes(), &post("/refuse", length, "")].concat();
        let answer = client.ask(behind).await;
        assert_eq!(answer.text(), "no", "{round}");
        assert!(!answer.closes(), "{round}: {answer:?}");
        let behind = [SMUGGLED.as_bytes(), &post("/ignore", length, "")].concat();
        client.send(behind).await;
    }
    assert_eq!(client.read_response().await.text(), "ok");
    // The read deadline of the request behind it is its own, too.
    let behind = [SMUGGLED.as_bytes(), &post("/read", length, "abc")].concat();
    client.mark();
    client.send(behind).await;
    let ending = client.read_until_close().await;
    assert_refused(&ending, 200, "a late body behind a discarded one");
    assert!(ending.answer().text().starts_with("n=3: "), "{ending:?}");
    assert_time(ending.at, ms(300));
    drop(client);
    bed.finish().await;
}

/// Whatever the handlers do with their bodies, and however requests are split: each answer belongs to its request, and
/// no body is read as a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_pieces_are_answered_in_order() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut clients = tokio::task::JoinSet::new();
    for seed in 1..=100 {
        let addr = bed.server.addr;
        clients.spawn(async move { in_pieces(Raw::connect(addr).await, Dice(seed)).await });
    }
    let (mut answered, mut closed) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (count, early) = client.expect("no panic");
        answered += count;
        closed += usize::from(early);
    }
    // These are requests whose unread chunks had not all arrived when the answer was sent.
    assert!(closed < 100 && answered > 1000, "{answered} {closed}");
    assert_eq!(bed.seen().len(), answered);
    bed.finish().await;
}

/// SplitMix64: the same pieces in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }
}

/// Returns how many requests were answered, and whether the server closed before the last one.
async fn in_pieces(mut client: Raw, mut dice: Dice) -> (usize, bool) {
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..30 {
        let length = dice.below(300);
        let path = ["/ignore", "/read", "/refuse", "/half", "/elsewhere"][dice.below(5)];
        // Unread chunks may close the connection; most bodies have a length.
        let by_chunks = path == "/read" && dice.below(2) == 0 || dice.below(20) == 0;
        if by_chunks && length > 0 {
            wire.extend(chunked(path, format!("{length:x}\r\n")));
            wire.extend(requests(length));
            wire.extend(b"\r\n0\r\n\r\n");
        } else {
            wire.extend(post(path, length, requests(length)));
        }
        expected.push(match path {
            "/read" => format!("n={length}"),
            "/refuse" => "no".to_owned(),
            "/half" => "enough".to_owned(),
            _ => "ok".to_owned(),
        });
    }
    let (mut reader, mut writer) = client.stream().split();
    let write = async {
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(1 + dice.below(400)));
            rest = more;
            if writer.write_all(piece).await.is_err() {
                return;
            }
            if dice.below(3) == 0 {
                tokio::time::sleep(ms(1)).await;
            }
        }
        // The server sends the rest and closes.
        let _ = writer.shutdown().await;
    };
    let mut said = Vec::new();
    let read = reader.read_to_end(&mut said);
    let (_, read) = within(LIMIT, "all answers", async { tokio::join!(write, read) }).await;
    read.expect("no reset");
    let answers = answers(&said);
    for (answer, expected) in answers.iter().zip(&expected) {
        assert_eq!(&answer.text(), expected, "{answers:?}");
    }
    let last = answers.last().expect("an answer");
    let early = answers.len() < expected.len();
    assert!(answers.len() <= expected.len(), "{answers:?}");
    assert!(!early || last.closes(), "{answers:?}");
    (answers.len(), early)
}

#[tokio::test]
async fn small_unread_chunks_are_discarded_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    let chunks = [b"48\r\n", &requests(0x48)[..], b"\r\n"].concat();
    let chunks = [&chunks.repeat(10)[..], b"0\r\n\r\n"].concat();
    for path in ["/ignore", "/refuse", "/none"] {
        let answer = client.ask(chunked(path, &chunks)).await;
        assert!(!answer.closes(), "{path}: {answer:?}");
        assert_eq!(client.ask(NEXT).await.status, 200);
        // The next request is in the same segment.
        let both = [&chunked(path, &chunks)[..], NEXT.as_bytes()].concat();
        let answer = client.ask(both).await;
        assert!(!answer.closes(), "{path}: {answer:?}");
        assert_eq!(client.read_response().await.text(), "ok");
    }
    drop(client);
    assert_eq!(bed.seen().len(), 12);
    bed.finish().await;
}

#[tokio::test]
async fn get_may_have_a_body() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    for method in ["GET", "DELETE", "OPTIONS"] {
        let length = SMUGGLED.len();
        let request = format!(
            "{method} /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}{NEXT}"
        );
        assert_eq!(client.ask(request).await.text(), "ok");
        assert_eq!(client.read_response().await.text(), "ok");
    }
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn large_unread_body_closes_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    for length in [DISCARD + 1, 5_000_000] {
        let ending = bed.send(post("/refuse", length, requests(length))).await;
        assert_refused(&ending, 413, "all of it sent");
        let ending = bed.send(post("/refuse", length, "")).await;
        assert_refused(&ending, 413, "none of it sent");
        assert_time(ending.at, Duration::ZERO);
    }
    bed.finish().await;

    let limits = Limits::default().discard(10);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let ending = bed.send(post("/refuse", 11, "abc")).await;
    assert_refused(&ending, 413, "a limit of 10");
    let mut client = bed.connect().await;
    assert!(!client.ask(post("/refuse", 10, "0123456789")).await.closes());
    assert_eq!(client.ask(NEXT).await.status, 200);
    drop(client);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_client_reads_its_early_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let body = Bytes::from(requests(5_000_000));
    let (mut read, mut clients) = (0, tokio::task::JoinSet::new());
    for client in 0..100 {
        let (addr, body) = (bed.server.addr, body.clone());
        clients.spawn(async move {
            let mut client_io = Raw::connect(addr).await;
            // Bodies have a length or chunks; some clients read while they send, as a browser does not.
            let path = if client % 4 < 2 { "/refuse" } else { "/half" };
            match client % 2 {
                0 => client_io.send(post(path, body.len(), "")).await,
                _ => {
                    client_io
                        .send(chunked(path, format!("{:x}\r\n", body.len())))
                        .await
                }
            }
            client_io.send(&body).await;
            client_io.read_until_close().await
        });
        // Ten at a time.
        if clients.len() == 10 {
            let ending = clients.join_next().await.unwrap().expect("no panic");
            assert_refused(&ending, 413, "5 MB");
            read += 1;
        }
    }
    while let Some(ending) = clients.join_next().await {
        assert_refused(&ending.expect("no panic"), 413, "5 MB");
        read += 1;
    }
    assert_eq!(read, 100);
    bed.finish().await;
}

/// A phone's upload takes longer than half a second; the server reads it as long as it keeps arriving.
#[tokio::test]
async fn slow_sending_client_reads_its_early_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let slow = async |head: Vec<u8>| {
        let mut client = bed.connect().await;
        client.send(head).await;
        for piece in 1..=14 {
            client.sleep_until(ms(100) * piece).await;
            client.send(requests(10_000)).await;
        }
        let ending = client.read_until_close().await;
        assert_refused(&ending, 413, "a slow upload");
    };
    tokio::join!(
        slow(post("/refuse", 5_000_000, "")),
        slow(chunked("/refuse", "4c4b40\r\n")),
        slow(post("/half", 5_000_000, requests(100))),
    );
    bed.finish().await;
}

#[tokio::test]
async fn lingering_for_a_silent_client_is_bounded() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert!(client.ask(post("/refuse", 5_000_000, "abc")).await.closes());
    client.mark();
    // The client stays, and neither sends nor closes.
    bed.server.until_open(0).await;
    assert!(client.elapsed() < ms(1400), "{:?}", client.elapsed());
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn expect_continue_body_is_not_waited_for_after_a_refusal() {
    let bed = Bed::with(Timeouts::default()).await;
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    // The final answer comes without a 100. Whether the client then sends the body is unknown, so the connection closes
    // however small the body is.
    for length in [5, 5_000_000] {
        let ending = bed.send(head("/refuse", length)).await;
        assert_refused(&ending, 413, "unread");
        assert_time(ending.at, Duration::ZERO);
    }
    // A client sends the body nevertheless.
    let body = requests(5_000_000);
    let mut request = head("/refuse", body.len()).into_bytes();
    request.extend_from_slice(&body);
    assert_refused(&bed.send(request).await, 413, "sent nevertheless");
    let mut request = head("/refuse", 5).into_bytes();
    request.extend_from_slice(b"abcde");
    request.extend_from_slice(SMUGGLED.as_bytes());
    assert_refused(&bed.send(request).await, 413, "sent nevertheless, and more");
    bed.finish().await;
}
