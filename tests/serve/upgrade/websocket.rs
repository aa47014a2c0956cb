//! Upgraded connections that speak WebSocket, through axum.
#![cfg(feature = "axum")]

use super::*;
use crate::support::{Knowing, Raw};
use axum::Router;
use axum::extract::Extension;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use lameduck::DrainLayer;
use lameduck::drain::Draining;

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Builds an echo; with `heed` it says goodbye when the process begins to leave.
async fn talk(
    mut socket: WebSocket,
    draining: Option<Draining>,
    ended: mpsc::UnboundedSender<bool>,
) {
    let notified = async {
        match draining {
            Some(draining) => draining.draining().await,
            None => std::future::pending().await,
        }
    };
    let mut notified = std::pin::pin!(notified);
    let failed = loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    if socket.send(Message::Text(text)).await.is_err() {
                        break true;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            },
            () = &mut notified => {
                let _ = socket.send(Message::Close(None)).await;
                break false;
            }
        }
    };
    let _ = ended.send(failed);
}

struct Service {
    server: Knowing,
    ended: mpsc::UnboundedReceiver<bool>,
}

async fn start(heed: bool, lame_duck: Duration, drain: Duration) -> Service {
    let (sender, ended) = mpsc::unbounded_channel();
    let on_ws = move |ws: WebSocketUpgrade, Extension(draining): Extension<Draining>| {
        let sender = sender.clone();
        async move { ws.on_upgrade(move |socket| talk(socket, heed.then_some(draining), sender)) }
    };
    let server = Knowing::start(lame_duck, drain, |lifecycle| {
        Router::new()
            .route("/ws", get(on_ws))
            .layer(DrainLayer::new(lifecycle))
    })
    .await;
    Service { server, ended }
}

impl Service {
    async fn connect(&self) -> TcpStream {
        let mut client = Raw::connect(self.server.addr).await;
        let answer = client.ask(HANDSHAKE).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        let accept = answer.header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let mut stream = client.into_stream();
        // A text of two letters, masked with zeros; it comes back unmasked.
        stream
            .write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])
            .await
            .unwrap();
        let mut echo = [0; 4];
        let read = within(LIMIT, "the echo", stream.read_exact(&mut echo)).await;
        read.unwrap();
        assert_eq!(&echo, b"\x81\x02hi");
        stream
    }
}

#[tokio::test]
async fn notified_tunnel_closes_itself() {
    for lame_duck in [ms(300), Duration::ZERO] {
        let mut service = start(true, lame_duck, ms(5_000)).await;
        let mut stream = service.connect().await;
        service.server.handle.shutdown();
        let mut close = [0; 2];
        let read = within(ms(2_000), "a close frame", stream.read_exact(&mut close)).await;
        read.unwrap();
        assert_eq!(close, [0x88, 0]);
        assert!(!next(&mut service.ended).await);
        drop(stream);
        let report = service.server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(400), "{report}");
    }
}

#[tokio::test]
async fn tunnel_is_waited_for() {
    let mut service = start(false, Duration::ZERO, ms(5_000)).await;
    let stream = service.connect().await;
    service.server.handle.drain_now();
    tokio::time::sleep(ms(250)).await;
    assert!(service.ended.try_recv().is_err(), "not yet");
    drop(stream);
    let report = service.server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(
        report.drain >= ms(240) && report.drain < ms(1_200),
        "{report}"
    );
}

#[tokio::test]
async fn tunnel_that_ignores_the_drain_is_cut_and_reported() {
    let mut service = start(false, Duration::ZERO, ms(300)).await;
    let mut stream = service.connect().await;
    service.server.handle.drain_now();
    assert!(next(&mut service.ended).await, "its read fails");
    ending(&mut stream).await;
    let report = service.server.report().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    let cut = &report.cut[0];
    assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/ws"));
    assert_eq!(cut.state, "upgraded");
    assert_eq!(cut.peer, Some(stream.local_addr().unwrap()));
    assert!(
        report.to_string().contains("upgraded, from 127.0.0.1:"),
        "{report}"
    );
}

#[tokio::test]
async fn many_tunnels_are_notified_at_once() {
    let service = start(true, ms(200), ms(300)).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(service.connect().await);
    }
    service.server.handle.shutdown();
    let report = service.server.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections, 20);
    drop(streams);
}
