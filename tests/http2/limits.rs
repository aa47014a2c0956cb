//! HTTP/2: the limits of a connection, its settings, and the protocols of a port.
#![cfg(feature = "axum")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::any;
use axum::{Extension, Router};
use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request, Response};
use http_body::Frame as BodyFrame;
use lameduck::drain::Draining;
use lameduck::serve::RequestBody;
use lameduck::{DrainLayer, Http2Limits, Limits, Protocols, Shutdown, Timeouts};
use tokio::net::TcpListener;

use crate::support::wire::{END_HEADERS, END_STREAM, PREFACE};
use crate::support::{
    Frame, How, LIMIT, Raw, Server, Setup, app, frames, h2_connect, kind, ms, reply, within,
};

fn limits(http2: Http2Limits) -> Limits {
    Limits::default().http2(http2)
}

/// Returns the settings that the server announces.
async fn settings(server: &Server) -> Vec<(u16, u32)> {
    let (_sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let (_, settings) = heard.until(kind::SETTINGS, 0).await;
    connection.abort();
    let pairs = settings.payload.chunks(6).map(|pair| {
        let id = u16::from_be_bytes(pair[..2].try_into().unwrap());
        (id, u32::from_be_bytes(pair[2..].try_into().unwrap()))
    });
    pairs.collect()
}

#[tokio::test]
async fn settings_are_announced() {
    let hello = || app(|_| async { reply(200, "hello") });
    let server = Setup::new().start(hello()).await;
    let by_default = settings(&server).await;
    for pair in [(4, 1 << 20), (8, 1)] {
        assert!(by_default.contains(&pair), "{pair:?} of {by_default:?}");
    }
    let http2 = Http2Limits::default()
        .initial_stream_window(77_000)
        .max_frame_size(20_000)
        .header_table_size(1_000)
        .connect_protocol(false);
    let server = Setup::new().limits(limits(http2)).start(hello()).await;
    let set = settings(&server).await;
    for pair in [(4, 77_000), (5, 20_000), (1, 1_000)] {
        assert!(set.contains(&pair), "{pair:?} of {set:?}");
    }
    assert!(
        !set.iter().any(|(id, value)| (*id, *value) == (8, 1)),
        "{set:?}"
    );
}

#[tokio::test]
async fn invalid_limit_is_named_at_the_start() {
    let http2 = Http2Limits::default().max_frame_size(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = lameduck::serve(listener, app(|_| async { reply(200, "") }));
    let error = within(LIMIT, "a refusal", async {
        serve.limits(limits(http2)).await.unwrap_err()
    });
    assert!(error.await.to_string().contains("max_frame_size"));
}

// === memory ===

/// An endless body that counts the bytes read.
struct Endless(Arc<AtomicUsize>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Self::Error>>> {
        static CHUNK: [u8; 16 * 1024] = [7; 16 * 1024];
        self.0.fetch_add(CHUNK.len(), Relaxed);
        Poll::Ready(Some(Ok(BodyFrame::data(Bytes::from_static(&CHUNK)))))
    }
}

fn get(stream: u32, path: &str, extra: &[u8]) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    block.extend(extra);
    Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, stream, block).bytes()
}

#[tokio::test]
async fn unread_responses_are_bounded() {
    const STREAMS: u32 = 200;
    let taken: Arc<AtomicUsize> = Arc::default();
    let body = taken.clone();
    let service = tower::service_fn(move |_: Request<RequestBody>| {
        let body = body.clone();
        async move { Ok::<_, std::convert::Infallible>(Response::new(Endless(body))) }
    });
    let server = Setup::new().start(service).await;
    let mut client = Raw::connect(server.addr).await;
    let mut hello = PREFACE.to_vec();
    let wide = 0x7fff_0000_u32.to_be_bytes();
    hello.extend(Frame::new(kind::SETTINGS, 0, 0, [&[0, 4][..], &wide].concat()).bytes());
    hello.extend(Frame::new(8, 0, 0, wide).bytes());
    for stream in 0..STREAMS {
        hello.extend(get(2 * stream + 1, "/", &[]));
    }
    client.send(hello).await;
    let mut before = usize::MAX;
    let settled = async {
        while before != taken.load(Relaxed) || before == 0 {
            before = taken.load(Relaxed);
            tokio::time::sleep(ms(300)).await;
        }
    };
    within(LIMIT, "the buffers to fill", settled).await;
    let taken = taken.load(Relaxed);
    // The bound is 64 KiB and one piece under way for each stream, and the socket buffers.
    assert!(taken < 200 * 80 * 1024 + 12 * 1024 * 1024, "{taken} bytes");
    drop(client);
}

/// Encodes a header field without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    let length = value.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        let (rest, low) = ((length - 127) / 128, (length - 127) % 128);
        assert!(rest < 128);
        bytes.extend([
            127,
            u8::try_from(low).unwrap() | 128,
            u8::try_from(rest).unwrap(),
        ]);
    }
    bytes.extend(value.as_bytes());
    bytes
}

/// Returns the status of a stream from the first byte of its head: 200 is indexed.
fn status(heard: &[Frame], stream: u32) -> Option<String> {
    let head = heard
        .iter()
        .find(|frame| (frame.kind, frame.stream) == (kind::HEADERS, stream))?;
    Some(match head.payload[0] {
        0x88 => "200".to_owned(),
        _ => String::from_utf8_lossy(&head.payload).into_owned(),
    })
}

#[tokio::test]
async fn number_of_headers_is_limited_as_on_http1() {
    let hello = app(|_| async { reply(200, "hello") });
    for (limits, most) in [
        (Limits::default(), 100),
        (Limits::default().max_headers(7), 7),
    ] {
        let server = Setup::new().limits(limits).start(hello.clone()).await;
        let (mut sender, connection, _) = h2_connect(server.addr).await;
        tokio::spawn(connection);
        for (count, status) in [(most, 200), (most + 1, 431)] {
            let mut request = Request::get("http://a/").body(()).unwrap();
            for number in 0..count {
                let name: http::HeaderName = format!("x-{number}").parse().unwrap();
                request.headers_mut().insert(name, "1".parse().unwrap());
            }
            let (answer, _) = sender.send_request(request, true).unwrap();
            let answer = within(LIMIT, "an answer", answer).await.unwrap();
            assert_eq!(answer.status(), status, "{count} headers");
        }
    }
}

#[tokio::test]
async fn heads_of_open_streams_are_bounded_together() {
    let app = app(|request: Request<RequestBody>| async move {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        reply(200, "hello")
    });
    let http2 = Http2Limits::default().max_open_header_bytes(64 * 1024);
    let server = Setup::new().limits(limits(http2)).start(app).await;
    let mut client = Raw::connect(server.addr).await;
    client.send(PREFACE).await;
    client
        .send(Frame::new(kind::SETTINGS, 0, 0, []).bytes())
        .await;
    let large = field("x-large", &"y".repeat(10_000));
    for number in 0..8 {
        client.send(get(2 * number + 1, "/never", &large)).await;
    }
    let heard = frames(&client.read_until_close_for(ms(400)).await.bytes);
    for number in 0..8 {
        let status = status(&heard, 2 * number + 1);
        // The other requests reached their handlers.
        let refused = status.as_ref().is_some_and(|status| status != "200");
        assert_eq!(refused, number >= 6, "{number}: {status:?}");
    }
    // Their end makes room again.
    for number in 0..6 {
        let reset = Frame::new(kind::RST_STREAM, 0, 2 * number + 1, 8_u32.to_be_bytes());
        client.send(reset.bytes()).await;
    }
    client.read_until_close_for(ms(200)).await;
    client.send(get(101, "/", &large)).await;
    let heard = frames(&client.read_until_close_for(ms(400)).await.bytes);
    assert_eq!(status(&heard, 101).as_deref(), Some("200"), "{heard:?}");
}

// === extended CONNECT ===

/// Echoes, and says goodbye when the drain begins.
async fn echo(
    draining: Option<Extension<Draining>>,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    upgrade.on_upgrade(move |mut socket| async move {
        loop {
            let leaving = async {
                match &draining {
                    Some(Extension(draining)) => draining.draining().await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = socket.recv() => message,
                () = leaving => {
                    let _ = socket.send(Message::Text("bye".into())).await;
                    return;
                }
            };
            let Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) = message else {
                return;
            };
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

#[tokio::test]
async fn websocket_over_http2_lives_without_deadlines_and_is_drained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(ms(0))
        .drain(ms(5_000));
    let handle = shutdown.handle();
    let router = Router::new()
        .route("/ws", any(echo))
        .layer(DrainLayer::new(handle.lifecycle()));
    let timeouts = Timeouts::go().read(ms(300)).write(ms(300));
    let serve = lameduck::serve(listener, router)
        .timeouts(timeouts)
        .shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });

    let (mut sender, connection, heard) = h2_connect(addr).await;
    tokio::spawn(connection);
    heard.until(kind::SETTINGS, 0).await;
    tokio::time::sleep(ms(50)).await;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a/ws")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let (answer, mut to) = sender.send_request(request, false).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut from = answer.into_body();
    for _ in 0..2 {
        // Masked with zeros.
        to.send_data(Bytes::from_static(b"\x81\x82\0\0\0\0hi"), false)
            .unwrap();
        let echo = within(LIMIT, "the echo", from.data()).await;
        assert_eq!(echo.unwrap().unwrap(), &b"\x81\x02hi"[..]);
        tokio::time::sleep(ms(500)).await;
    }
    let counts = handle.connections();
    let upgraded = lameduck::shutdown::ConnectionState::Upgraded;
    assert_eq!(counts.of(upgraded), 1, "{counts:?}");
    handle.drain_now();
    let bye = within(LIMIT, "a goodbye", from.data()).await;
    assert_eq!(bye.unwrap().unwrap(), &b"\x81\x03bye"[..]);
    let _ = to.send_data(Bytes::new(), true);
    drop((to, from, sender));
    let report = within(LIMIT, "the report", report).await.unwrap();
    assert!(report.is_clean() && report.drain < ms(3_000), "{report}");
}

// === protocols ===

async fn serving(
    protocols: Protocols,
) -> (std::net::SocketAddr, lameduck::shutdown::ShutdownHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let serve = lameduck::serve(listener, app(|_| async { reply(200, "hello") }))
        .protocols(protocols)
        .shutdown(shutdown);
    tokio::spawn(serve.into_future());
    (addr, handle)
}

#[tokio::test]
async fn only_configured_protocols_are_spoken() {
    let http1 = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec();
    let mut http2 = PREFACE.to_vec();
    http2.extend(Frame::new(kind::SETTINGS, 0, 0, []).bytes());
    http2.extend(get(1, "/", &[]));
    for (protocols, speaks_http1, speaks_http2) in [
        (Protocols::Both, true, true),
        (Protocols::Http1, true, false),
        (Protocols::Http2, false, true),
    ] {
        let (addr, handle) = serving(protocols).await;
        let mut client = Raw::connect(addr).await;
        client.send(&http1).await;
        let ending = client.read_until_close().await;
        let status = if speaks_http1 { 200 } else { 400 };
        assert_eq!(ending.answer().status, status, "{protocols:?}");
        assert_eq!(ending.how, How::Fin, "{protocols:?}");

        let mut client = Raw::connect(addr).await;
        client.send(&http2).await;
        let ending = client.read_until_close_for(ms(400)).await;
        if speaks_http2 {
            let heard = frames(&ending.bytes);
            assert_eq!(
                status_of_first(&heard),
                Some("200".to_owned()),
                "{protocols:?}"
            );
        } else {
            assert!(
                ending.text().starts_with("HTTP/1.1 400 "),
                "{protocols:?}: {ending:?}"
            );
            assert_ne!(ending.how, How::StillOpen);
        }
        handle.cut();
    }
}

fn status_of_first(heard: &[Frame]) -> Option<String> {
    status(heard, 1)
}
