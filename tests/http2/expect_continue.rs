//! HTTP/2: a client that waits for `100 Continue` before it sends its body.

use http::Request;
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use crate::support::wire::{END_HEADERS, END_STREAM, PREFACE};
use crate::support::{App, Frame, Raw, Server, app, frames, kind, ms, reply};

const CONTINUE: &[u8] = b"\x08\x03100";

/// Builds a service: `/refuse` answers without reading the body, `/late` reads it after a while, others echo.
fn echo() -> App {
    app(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/refuse" => return reply(403, "no"),
            "/late" => tokio::time::sleep(ms(200)).await,
            _ => {}
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        reply(200, body)
    })
}

fn post(stream: u32, path: &str, expects: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    if expects {
        // `expect`, index 35 of the static table, without indexing.
        block.extend([0x0f, 20, 12]);
        block.extend(b"100-continue");
    }
    Frame::new(kind::HEADERS, END_HEADERS, stream, block).bytes()
}

fn data(stream: u32, text: &str) -> Vec<u8> {
    Frame::new(kind::DATA, END_STREAM, stream, text).bytes()
}

fn hello(settings: &[u8]) -> Vec<u8> {
    let settings = Frame::new(kind::SETTINGS, 0, 0, settings).bytes();
    [PREFACE, &settings].concat()
}

/// Returns the frames of this stream in order.
fn of(heard: &[Frame], stream: u32) -> Vec<Frame> {
    let mine = heard.iter().filter(|frame| frame.stream == stream);
    mine.cloned().collect()
}

fn continues(heard: &[Frame], stream: u32) -> usize {
    let mine = of(heard, stream);
    let is_continue = |frame: &&Frame| {
        frame.kind == kind::HEADERS && frame.payload == CONTINUE && frame.flags == 4
    };
    mine.iter().filter(is_continue).count()
}

async fn hear(client: &mut Raw, for_ms: u64) -> Vec<Frame> {
    frames(&client.read_until_close_for(ms(for_ms)).await.bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_client_gets_100_when_its_body_is_read() {
    let server = Server::start(Timeouts::default(), echo()).await;
    let mut client = Raw::connect(server.addr).await;
    client.send(hello(&[])).await;
    for (stream, path) in [(1, "/"), (3, "/late"), (5, "/")] {
        client.send(post(stream, path, true)).await;
        let heard = hear(&mut client, 500).await;
        assert_eq!(continues(&heard, stream), 1, "{heard:?}");
        assert_eq!(of(&heard, stream).len(), 1, "{heard:?}");
        client.send(data(stream, "hello")).await;
        let heard = of(&hear(&mut client, 300).await, stream);
        assert_eq!(heard[0].payload[0] & 0x80, 0x80, "200, indexed: {heard:?}");
        let body = heard.iter().find(|frame| frame.kind == kind::DATA);
        assert_eq!(body.unwrap().payload, b"hello", "{heard:?}");
    }
}

#[tokio::test]
async fn each_stream_gets_its_own_100() {
    let server = Server::start(Timeouts::default(), echo()).await;
    let mut client = Raw::connect(server.addr).await;
    let requests = [
        hello(&[]),
        post(1, "/refuse", true),
        post(3, "/", true),
        post(5, "/", false),
        post(7, "/late", true),
        post(9, "/", true),
    ];
    client.send(requests.concat()).await;
    let heard = hear(&mut client, 600).await;
    for (stream, count) in [(1, 0), (3, 1), (5, 0), (7, 1), (9, 1)] {
        assert_eq!(continues(&heard, stream), count, "{stream} of {heard:?}");
    }
    assert_eq!(of(&heard, 1)[0].kind, kind::HEADERS, "{heard:?}");
    for stream in [3, 5, 7, 9] {
        client.send(data(stream, "hello")).await;
    }
    let heard = hear(&mut client, 400).await;
    for stream in [3, 5, 7, 9] {
        let body = of(&heard, stream)
            .into_iter()
            .find(|frame| frame.kind == kind::DATA);
        assert_eq!(body.unwrap().payload, b"hello", "{heard:?}");
    }
}

#[tokio::test]
async fn body_already_sent_gets_no_100() {
    let server = Server::start(Timeouts::default(), echo()).await;
    let mut client = Raw::connect(server.addr).await;
    client
        .send([hello(&[]), post(1, "/", true), data(1, "hello")].concat())
        .await;
    let heard = hear(&mut client, 400).await;
    assert_eq!(continues(&heard, 1), 0, "{heard:?}");
    assert!(of(&heard, 1).iter().any(|frame| frame.payload == b"hello"));
}

#[tokio::test]
async fn split_heads_and_refused_streams_keep_stream_ids_right() {
    let server = Server::start(Timeouts::default(), echo()).await;
    let mut client = Raw::connect(server.addr).await;
    client.send(hello(&[])).await;
    // A malformed request has no path. h2 resets it, and the service is not called.
    let malformed = [0x83, 0x86];
    let malformed = Frame::new(kind::HEADERS, END_HEADERS, 1, malformed).bytes();
    client.send(malformed).await;
    hear(&mut client, 100).await;
    // HEADERS are followed by CONTINUATION after a pause.
    let whole = post(3, "/", true);
    let block = whole[9..].to_vec();
    let head = Frame::new(kind::HEADERS, 0, 3, &block[..9]).bytes();
    client.send(head).await;
    hear(&mut client, 100).await;
    let rest = Frame::new(9, END_HEADERS, 3, &block[9..]).bytes();
    client.send(rest).await;
    let heard = hear(&mut client, 300).await;
    assert_eq!(continues(&heard, 3), 1, "{heard:?}");
    assert!(
        !heard
            .iter()
            .any(|frame| frame.kind == kind::HEADERS && frame.stream != 3)
    );
}

#[tokio::test]
async fn client_with_a_small_header_table_gets_no_100() {
    let server = Server::start(Timeouts::default(), echo()).await;
    let mut client = Raw::connect(server.addr).await;
    // SETTINGS_HEADER_TABLE_SIZE 0: the first block must change the table's size, which only h2 can encode.
    client.send(hello(&[0, 1, 0, 0, 0, 0])).await;
    client.send(post(1, "/", true)).await;
    let heard = hear(&mut client, 300).await;
    assert_eq!(continues(&heard, 1), 0, "{heard:?}");
    client.send(data(1, "hello")).await;
    let heard = of(&hear(&mut client, 300).await, 1);
    assert_eq!(
        heard[0].payload[0] & 0xe0,
        0x20,
        "a new size first: {heard:?}"
    );
}
