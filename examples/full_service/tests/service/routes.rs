//! Every route, from outside.

use std::time::Duration;

use tungstenite::Message;

use crate::support::{
    client::{self, Client},
    service::Service,
};

#[test]
fn short_routes_answer_on_one_connection() {
    let service = Service::start_ready(&[]);
    let mut client = Client::connect(service.address).expect("a connection");

    for (target, status, body) in [
        ("/", 200, "lameduck full service\n"),
        ("/slow?ms=1", 200, "slept 1 ms\n"),
        ("/slow?ms=60001", 400, "ms must be at most 60000\n"),
        ("/big?mb=1025", 400, "mb must be at most 1024\n"),
        ("/stream?n=10001", 400, "n must be at most 10000\n"),
        ("/nowhere", 404, "no such route\n"),
    ] {
        let answer = client.get(target).expect(target);
        assert_eq!(
            (answer.head.status, answer.text()),
            (status, body),
            "{target}"
        );
    }
    for target in ["/slow?ms=soon", "/slow?ms=-1", "/big?mb=1e9", "/stream?n="] {
        let answer = client.get(target).expect(target);
        assert_eq!(answer.head.status, 400, "{target}");
    }
}

#[test]
fn echo_returns_the_body_and_its_type() {
    let service = Service::start_ready(&[]);
    let mut client = Client::connect(service.address).expect("a connection");

    client
        .send(
            b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-type: text/x-duck\r\n\
              content-length: 5\r\n\r\nquack",
        )
        .expect("sent");
    let answer = client.response().expect("an answer");
    assert_eq!(answer.text(), "quack");
    assert_eq!(answer.head.header("content-type"), Some("text/x-duck"));
}

#[test]
fn echo_streams_before_the_body_is_whole() {
    let service = Service::start_ready(&[]);
    let mut client = Client::connect(service.address).expect("a connection");

    client
        .send(b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .expect("sent");
    client.send(b"5\r\nquack\r\n").expect("sent");
    assert_eq!(client.head().expect("a head").status, 200);
    assert_eq!(
        client.chunk().expect("a chunk").as_deref(),
        Some(&b"quack"[..])
    );
    client.send(b"0\r\n\r\n").expect("sent");
    assert_eq!(client.chunk().expect("an end"), None);
}

#[test]
fn big_response_matches_its_length() {
    let service = Service::start_ready(&[]);
    let answer = client::get(service.address, "/big?mb=3").expect("an answer");
    assert_eq!(answer.head.header("content-length"), Some("3145728"));
    assert_eq!(answer.body.len(), 3 * 1024 * 1024);
    assert!(answer.body.iter().all(|byte| *byte == b'.'));
}

#[test]
fn stream_arrives_in_chunks() {
    let service = Service::start_ready(&[]);
    let mut client = Client::connect(service.address).expect("a connection");

    client.send_get("/stream?n=3&ms=1").expect("sent");
    assert_eq!(client.head().expect("a head").status, 200);
    for line in ["chunk 1 of 3\n", "chunk 2 of 3\n", "chunk 3 of 3\n"] {
        let chunk = client.chunk().expect("a chunk");
        assert_eq!(chunk.as_deref(), Some(line.as_bytes()));
    }
    assert_eq!(client.chunk().expect("an end"), None);
}

#[test]
fn sse_outlives_the_write_timeout() {
    let service = Service::start_ready(&[("WRITE_TIMEOUT", "500ms")]);
    let mut client = Client::connect(service.address).expect("a connection");

    client.send_get("/sse").expect("sent");
    let head = client.head().expect("a head");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for tick in 1..=3 {
        let event = client.chunk().expect("an event").expect("no end");
        let event = String::from_utf8(event).expect("text");
        assert_eq!(event, format!("event: tick\ndata: {tick}\n\n"));
    }
}

#[test]
fn websocket_echoes() {
    let service = Service::start_ready(&[]);
    let url = format!("ws://{}/ws", service.address);
    let (mut socket, _) = tungstenite::connect(url).expect("an upgrade");

    for message in [Message::text("quack"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).expect("sent");
        assert_eq!(socket.read().expect("an echo"), message);
    }
    socket.close(None).expect("closing");
    let last = std::iter::from_fn(|| socket.read().ok()).last();
    assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
}

#[test]
fn websocket_outlives_request_deadlines() {
    let service = Service::start_ready(&[
        ("READ_TIMEOUT", "200ms"),
        ("WRITE_TIMEOUT", "200ms"),
        ("IDLE_TIMEOUT", "200ms"),
    ]);
    let url = format!("ws://{}/ws", service.address);
    let (mut socket, _) = tungstenite::connect(url).expect("an upgrade");

    std::thread::sleep(Duration::from_millis(500));
    socket.send(Message::text("quack")).expect("sent");
    assert_eq!(socket.read().expect("an echo"), Message::text("quack"));
}

#[test]
fn get_without_an_upgrade_is_refused() {
    let service = Service::start_ready(&[]);
    let answer = client::get(service.address, "/ws").expect("an answer");
    assert_eq!(answer.head.status, 400);
}

#[test]
fn oversized_frame_is_refused_by_its_head() {
    let service = Service::start_ready(&[]);
    let url = format!("ws://{}/ws", service.address);
    let (mut socket, _) = tungstenite::connect(url).expect("an upgrade");
    // The bytes are the head of a masked binary frame of 2 MiB, without its payload.
    let mut head = vec![0x82, 0xff];
    head.extend((2u64 * 1024 * 1024).to_be_bytes());
    head.extend([0; 4]);
    let stream = socket.get_mut();
    std::io::Write::write_all(stream, &head).expect("sent");
    while socket.read().is_ok() {}
}

#[test]
fn vanished_websocket_client_is_detected() {
    let service = Service::start_ready(&[("WEBSOCKET_IDLE", "300ms")]);
    let url = format!("ws://{}/ws", service.address);
    let (mut alive, _) = tungstenite::connect(&url).expect("an upgrade");
    let (gone, _) = tungstenite::connect(&url).expect("an upgrade");
    // The client answers pings while it reads.
    for _ in 0..4 {
        assert!(matches!(alive.read().expect("a ping"), Message::Ping(_)));
    }
    alive.send(Message::text("quack")).expect("sent");
    loop {
        match alive.read().expect("an echo") {
            Message::Ping(_) => {}
            echo => break assert_eq!(echo, Message::text("quack")),
        }
    }
    // The other client was pinged too, and has not read: its end follows the ping.
    let mut gone = gone;
    let end = std::iter::repeat_with(|| gone.read()).find(Result::is_err);
    assert!(end.is_some());
}
