//! The length of a body: contradictory, absurd, or in broken chunks.

use std::time::Duration;

use lameduck::Timeouts;

use super::{Bed, SMUGGLED, assert_refused, assert_time, chunked, post};
use crate::support::*;

#[tokio::test]
async fn invalid_content_length_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    for length in [
        "-1",
        "+5",
        "0x5",
        "1e3",
        "five",
        "5 5",
        "5,6",
        "",
        "99999999999999999999999",
    ] {
        let request =
            format!("POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}");
        assert_refused(&bed.send(request).await, 400, length);
    }
    // The length is larger than hyper's own integers.
    let request = format!(
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
        u64::MAX
    );
    let ending = bed.send(request).await;
    let answer = ending.answer();
    assert!(matches!(answer.status, 400 | 413 | 431), "{answer:?}");
    assert!(answer.closes() && ending.how == How::Fin);
    let twice = format!(
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 36\r\n\r\n{SMUGGLED}"
    );
    assert_refused(&bed.send(twice).await, 400, "two lengths");
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

#[tokio::test]
async fn absurd_content_length_is_not_waited_for() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let absurd = usize::try_from(i64::MAX).unwrap();
    // The body is unread: the answer comes at once, and the connection closes.
    let ending = bed.send(post("/refuse", absurd, SMUGGLED)).await;
    assert_refused(&ending, 413, "unread");
    assert_time(ending.at, Duration::ZERO);
    // The body is read: the wait lasts until the deadline.
    let ending = bed.send(post("/read", absurd, SMUGGLED)).await;
    assert_refused(&ending, 200, "read");
    assert!(
        ending
            .answer()
            .text()
            .starts_with(&format!("n={}: ", SMUGGLED.len()))
    );
    assert_time(ending.at, ms(300));
    bed.finish().await;
}

/// RFC 9112, 6.1: a server may use the chunks alone, and must close after the answer, so that a proxy that used the
/// length cannot be made to read one request as two.
#[tokio::test]
async fn chunks_override_a_length_and_the_connection_closes() {
    let bed = Bed::with(Timeouts::default()).await;
    let length = "content-length: 4\r\n";
    let chunks = "transfer-encoding: chunked\r\n";
    let mut asked = 0;
    for [first, second] in [[length, chunks], [chunks, length]] {
        for (body, seen) in [("0\r\n\r\n", 0), ("9\r\nabcdefghi\r\n0\r\n\r\n", 9)] {
            let request =
                format!("POST /read HTTP/1.1\r\nhost: a\r\n{first}{second}\r\n{body}{SMUGGLED}");
            let ending = bed.send(&request).await;
            assert_refused(&ending, 200, &request);
            assert_eq!(ending.answer().text(), format!("n={seen}"), "{request:?}");
            // An unread body has the same result.
            let ending = bed.send(request.replace("/read", "/ignore")).await;
            assert_refused(&ending, 200, &request);
            asked += 2;
        }
    }
    assert_eq!(bed.seen().len(), asked, "{:?}", bed.seen());
    bed.finish().await;
}

#[tokio::test]
async fn transfer_coding_not_ending_in_chunked_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    for coding in [
        "gzip",
        "identity",
        "xchunked",
        "chunked, gzip",
        "chunkedx",
        "\"chunked\"",
    ] {
        let request = format!(
            "POST /read HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n{SMUGGLED}"
        );
        assert_refused(&bed.send(request).await, 400, coding);
    }
    let old = format!(
        "POST /read HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let ending = bed.send(old).await;
    assert_eq!((ending.how, ending.answer().status), (How::Fin, 400));
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    let extension = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "x".repeat(100_000));
    let cases = [
        ("no size", "ZZ\r\nabcde\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nabcde\r\n0\r\n\r\n"),
        (
            "a size too large to count",
            "FFFFFFFFFFFFFFFFFF\r\nabcde\r\n0\r\n\r\n",
        ),
        ("a bare LF after the size", "5\nabcde\r\n0\r\n\r\n"),
        ("no end of the chunk", "5\r\nabcdefgh\r\n0\r\n\r\n"),
        ("a bare LF after the chunk", "5\r\nabcde\n0\r\n\r\n"),
        ("an endless extension", &extension),
    ];
    for (what, body) in cases {
        let body = format!("{body}{SMUGGLED}");
        // The body is read: the handler sees the error, and its answer is sent.
        let ending = bed.send(chunked("/read", &body)).await;
        assert_refused(&ending, 200, what);
        assert!(ending.answer().text().contains("broke off"), "{what}");
        // The body is unread: the error occurs while it is discarded.
        let ending = bed.send(chunked("/ignore", &body)).await;
        assert_refused(&ending, 200, what);
    }
    bed.finish().await;
}
