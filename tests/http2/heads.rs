//! HTTP/2 heads have the deadline that HTTP/1 heads have.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use crate::support::wire::{END_HEADERS, END_STREAM, PREFACE};
use crate::support::{App, Frame, How, Raw, Server, app, channel, frames, kind, ms, reply};

const CONTINUATION: u8 = 9;

fn settings() -> Vec<u8> {
    Frame::new(kind::SETTINGS, 0, 0, []).bytes()
}

/// The preface and SETTINGS, which each connection begins with.
fn hello() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

/// A header block, of `GET /` or of `POST` to the path.
fn block(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let mut block = vec![method, 0x86, 0x01, 1, b'a', 0x04, length];
    block.extend(path.as_bytes());
    block
}

fn get(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    Frame::new(kind::HEADERS, END_STREAM | flags, stream, block(0x82, path)).bytes()
}

fn service() -> App {
    app(|request: Request<RequestBody>| async move {
        if request.uri().path() == "/stream" {
            let (mut sender, body) = channel();
            tokio::spawn(async move {
                while sender.send_data(Bytes::from_static(b"tick")).await.is_ok() {
                    tokio::time::sleep(ms(50)).await;
                }
            });
            return Response::new(body);
        }
        let length = request
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len();
        reply(200, length.to_string())
    })
}

const READ_HEADER: Duration = ms(400);

async fn start() -> Server {
    Server::start(Timeouts::none().read_header(READ_HEADER), service()).await
}

/// Asserts that the connection ended at its deadline, with a GOAWAY if h2 was reading.
async fn assert_too_slow(mut client: Raw, server: &Server, what: &str) {
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen, "{what}");
    let (early, late) = (READ_HEADER - ms(50), READ_HEADER + ms(2_000));
    assert!(
        early < ending.at && ending.at < late,
        "{what}: {:?}",
        ending.at
    );
    let goaway = frames(&ending.bytes)
        .into_iter()
        .any(|frame| frame.kind == kind::GOAWAY);
    assert!(goaway, "{what}: no GOAWAY");
    server.until_open(0).await;
    let reported = server.reported();
    let timeouts = reported
        .iter()
        .filter(|event| event.contains("read_header"));
    assert!(timeouts.count() > 0, "{what}: {reported:?}");
}

#[tokio::test]
async fn partial_http2_head_has_the_head_deadline() {
    let server = start().await;
    let headers = get(1, "/", END_HEADERS);
    let cases = [
        ("the preface alone", PREFACE.to_vec()),
        ("half of SETTINGS", [PREFACE, &settings()[..5]].concat()),
        (
            "half a frame's head",
            [&hello()[..], &headers[..3]].concat(),
        ),
        ("half a block", [&hello()[..], &headers[..12]].concat()),
        ("no END_HEADERS", [&hello()[..], &get(1, "/", 0)].concat()),
        (
            "a continuation that does not end it",
            [
                &hello()[..],
                &get(1, "/", 0),
                &Frame::new(CONTINUATION, 0, 1, []).bytes(),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in cases {
        let mut client = server.connect().await;
        client.send(bytes).await;
        assert_too_slow(client, &server, what).await;
    }
}

#[tokio::test]
async fn partial_header_block_ends_the_connection_beside_an_open_stream() {
    let server = start().await;
    let mut client = server.connect().await;
    client
        .send([&hello()[..], &get(1, "/stream", END_HEADERS)].concat())
        .await;
    // The request comes after the deadline of its SETTINGS.
    tokio::time::sleep(READ_HEADER + ms(200)).await;
    client.mark();
    client.send(get(3, "/", 0)).await;
    assert_too_slow(client, &server, "beside an open stream").await;
}

#[tokio::test]
async fn trickling_continuations_do_not_extend_the_head_deadline() {
    let server = start().await;
    let mut client = server.connect().await;
    client.send([&hello()[..], &get(1, "/", 0)].concat()).await;
    let trickle: Vec<u8> = (0..60)
        .flat_map(|_| Frame::new(CONTINUATION, 0, 1, []).bytes())
        .collect();
    let ending = client.drip(trickle, ms(20)).await;
    assert_ne!(ending.how, How::StillOpen);
    assert!(ending.at < READ_HEADER + ms(2_000), "{:?}", ending.at);
    server.until_open(0).await;
}

#[tokio::test]
async fn other_frames_have_no_head_deadline() {
    let server = start().await;
    let mut client = server.connect().await;
    // The head comes in pieces, within its deadline.
    let post = Frame::new(kind::HEADERS, END_HEADERS, 1, block(0x83, "/")).bytes();
    for piece in [&hello()[..20], &hello()[20..], &post[..7], &post[7..]] {
        client.send(piece).await;
        tokio::time::sleep(ms(60)).await;
    }
    // A piece of a body takes longer.
    let data = Frame::new(kind::DATA, END_STREAM, 1, vec![b'x'; 100]).bytes();
    client.send(&data[..50]).await;
    tokio::time::sleep(READ_HEADER * 2).await;
    client.send(&data[50..]).await;
    // So may the next head, from one to the other.
    for stream in [3, 5] {
        tokio::time::sleep(READ_HEADER + ms(100)).await;
        client.send(get(stream, "/", END_HEADERS)).await;
    }
    let ending = client.read_until_close_for(ms(800)).await;
    assert_eq!(ending.how, How::StillOpen);
    let all = frames(&ending.bytes);
    let heads = all
        .iter()
        .filter(|frame| frame.kind == kind::HEADERS)
        .count();
    assert_eq!(heads, 3, "{all:?}");
}
