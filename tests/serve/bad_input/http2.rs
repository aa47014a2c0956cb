//! Bad input over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use lameduck::{Limits, Timeouts};

use super::{Bed, NEXT, SMUGGLED, assert_refused, assert_time, h2_status, h2_still_good, requests};
use crate::support::wire::PREFACE;
use crate::support::*;

fn settings() -> Vec<u8> {
    Frame::new(kind::SETTINGS, 0, 0, []).bytes()
}

#[tokio::test]
async fn h2_garbage_after_the_preface_gets_goaway() {
    let bed = Bed::with(Timeouts::default()).await;
    let cases = [
        ("bytes", vec![0xff; 100]),
        ("zeros", vec![0; 100]),
        ("HTTP/1", SMUGGLED.as_bytes().to_vec()),
        (
            "settings on a stream",
            Frame::new(kind::SETTINGS, 0, 1, []).bytes(),
        ),
        (
            "half a setting",
            Frame::new(kind::SETTINGS, 0, 0, [0; 5]).bytes(),
        ),
    ];
    for (what, garbage) in cases {
        let ending = bed.send([PREFACE, &garbage].concat()).await;
        assert_ne!(ending.how, How::StillOpen, "{what}");
        assert_time(ending.at, Duration::ZERO);
        assert_goaway(&ending, what);
    }
    let cases = [
        ("data on no stream", Frame::new(kind::DATA, 0, 1, [0; 5])),
        (
            "headers on stream 0",
            Frame::new(kind::HEADERS, 5, 0, [0x82]),
        ),
        (
            "headers that are none",
            Frame::new(kind::HEADERS, 5, 1, [0xff; 20]),
        ),
        ("a short ping", Frame::new(kind::PING, 0, 0, [0; 3])),
    ];
    for (what, frame) in cases {
        let ending = bed
            .send([PREFACE, &settings(), &frame.bytes()].concat())
            .await;
        assert_ne!(ending.how, How::StillOpen, "{what}");
        assert_time(ending.at, Duration::ZERO);
        assert_goaway(&ending, what);
    }
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

/// Asserts a GOAWAY that names an error.
#[track_caller]
fn assert_goaway(ending: &Ending, what: &str) {
    let frames = frames(&ending.bytes);
    let codes: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == kind::GOAWAY)
        .filter_map(Frame::code)
        .collect();
    assert!(codes.iter().any(|code| *code != 0), "{what}: {frames:?}");
}

#[tokio::test]
async fn h2_half_a_preface_has_the_header_deadline() {
    let bed = Bed::with(Timeouts::none().read_header(ms(400))).await;
    let at_once = async {
        let ending = bed.send(&PREFACE[..20]).await;
        // The bytes could still be either protocol's; the refusal is in HTTP/1.
        assert_refused(&ending, 408, "half a preface");
        assert_time(ending.at, ms(400));
    };
    let drip = async {
        let mut client = bed.connect().await;
        let ending = client.drip(PREFACE, ms(50)).await;
        assert_refused(&ending, 408, "a preface that trickles");
        assert_time(ending.at, ms(400));
    };
    let never = async {
        let ending = bed.send("").await;
        assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
        assert_time(ending.at, ms(400));
    };
    tokio::join!(at_once, drip, never);
    bed.finish().await;
}

#[tokio::test]
async fn h2_silence_after_the_preface_ends_the_connection() {
    let bed = Bed::with(Timeouts::none().idle(ms(300))).await;
    let silent = async |bytes: Vec<u8>| {
        let ending = bed.send(&bytes).await;
        assert_ne!(ending.how, How::StillOpen);
        // The idle deadline passes, and a second for an acknowledgement that does not come.
        assert!(ending.at <= ms(1300 + 400), "{:?}", ending.at);
    };
    tokio::join!(
        silent(PREFACE.to_vec()),
        silent([PREFACE, &settings()].concat()),
        silent([PREFACE, &settings()[..4]].concat()),
    );
    bed.finish().await;
}

#[tokio::test]
async fn h2_preface_after_http1_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert_eq!(client.ask(NEXT).await.status, 200);
    client.mark();
    client.send([PREFACE, &settings()].concat()).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert_time(ending.at, Duration::ZERO);
    assert!(ending.answers().iter().all(|answer| answer.status >= 400));
    bed.finish().await;
}

#[tokio::test]
async fn h2_oversized_headers_get_431() {
    let limits = Limits::default().max_header_bytes(2048);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let (mut sender, connection, _) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/long")
        .header("x-long", "a".repeat(4000))
        .body(())
        .unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    assert_eq!(h2_status(answer).await, 431);
    h2_still_good(sender, connection).await;
    assert_eq!(bed.seen(), ["GET /next"]);
    bed.finish().await;
}

#[tokio::test]
async fn h2_unread_body_is_stopped_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let (mut sender, connection, heard) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    for (path, stream) in [("/refuse", 1), ("/half", 3), ("/refuse", 5)] {
        let request = Request::post(format!("http://a{path}")).body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        // The body exceeds the windows: it is sent as the server takes it.
        body.send_data(Bytes::from(requests(5_000_000)), false)
            .unwrap();
        let answer = within(LIMIT, "an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), 413);
        let text = within(LIMIT, "its body", answer.into_body().data()).await;
        assert!(text.is_some_and(|text| text.is_ok()));
        let (_, reset) = heard.until(kind::RST_STREAM, stream).await;
        assert_eq!(reset.code(), Some(0), "asked to stop, without an error");
    }
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
    assert_eq!(bed.seen().len(), 3);
    bed.finish().await;
}

#[tokio::test]
async fn h2_body_with_a_wrong_length_ends_only_its_stream() {
    let bed = Bed::with(Timeouts::default()).await;
    let (mut sender, connection, heard) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a/read")
        .header("content-length", "5")
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let answer = within(LIMIT, "an answer", answer).await;
    let (_, reset) = heard.until(kind::RST_STREAM, 1).await;
    assert_ne!(reset.code(), Some(0), "{answer:?}");
    drop((answer, body));
    h2_still_good(sender, connection).await;
    bed.finish().await;
}
