//! The drain layer serves clients that could not know of the drain, and refuses the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lameduck::shutdown::ConnectionState;
use lameduck::{DrainLayer, InFlightLayer, Phase};
use tower::{Layer, ServiceBuilder};

use super::{GET, HALVES, get, hello, the_rest_is_answered};
use crate::support::{Gate, How, Knowing, Raw, app, channel, ms, reply, within};

#[tokio::test]
async fn drain_layer_serves_a_request_whose_head_had_begun() {
    for before in [0, 1, 3] {
        for half in HALVES {
            let server = Knowing::start(Duration::ZERO, ms(5_000), |lifecycle| {
                DrainLayer::new(lifecycle).layer(hello())
            })
            .await;
            let mut client = Raw::connect(server.addr).await;
            for _ in 0..before {
                assert_eq!(client.ask(GET).await.status, 200);
            }
            client.send(half).await;
            let begun = ConnectionState::Head;
            let seen = async {
                // The first byte of a fresh connection could be HTTP/2's; it counts as idle until then.
                while before > 0 && server.handle.connections().of(begun) == 0 {
                    tokio::time::sleep(ms(5)).await;
                }
            };
            within(crate::support::LIMIT, "half a head", seen).await;
            server.handle.drain_now();
            server.handle.lifecycle().reached(Phase::Draining).await;
            the_rest_is_answered(&mut client, half, before).await;
            let report = server.report().await;
            assert!(report.is_clean(), "{half:?} after {before}: {report}");
        }
    }
}

#[tokio::test]
async fn drain_layer_serves_the_first_request_of_an_open_connection() {
    let gate = Gate::new();
    let server = Knowing::start(Duration::ZERO, ms(5_000), |lifecycle| {
        DrainLayer::new(lifecycle).layer(gate.app())
    })
    .await;
    let mut busy = Raw::connect(server.addr).await;
    busy.send(get("/slow")).await;
    gate.came().await;
    let mut fresh = Raw::connect(server.addr).await;
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;
    let answer = fresh.ask(GET).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    gate.let_one_go();
    assert_eq!(busy.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn drain_layer_serves_the_request_behind_an_answer_without_close() {
    for lame_duck in [Duration::ZERO, ms(400)] {
        behind_an_answer_that_could_not_ask_to_leave(lame_duck).await;
    }
}

/// Ends the answer in the lame duck if there is one, or else in the drain.
async fn behind_an_answer_that_could_not_ask_to_leave(lame_duck: Duration) {
    let (mut sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let gate = Gate::new();
    let slow = gate.clone();
    let app = app(move |request| {
        let (body, slow) = (body.clone(), slow.clone());
        async move {
            match request.uri().path() {
                "/stream" => http::Response::new(body.lock().unwrap().take().unwrap()),
                "/slow" => {
                    slow.hold().await;
                    reply(200, "slow")
                }
                path => reply(200, path.to_owned()),
            }
        }
    });
    let server = Knowing::start(lame_duck, ms(5_000), |lifecycle| {
        DrainLayer::new(lifecycle).layer(app)
    })
    .await;
    // Another request holds the drain, so that the connection is still open afterwards.
    let mut busy = Raw::connect(server.addr).await;
    busy.send(get("/slow")).await;
    gate.came().await;
    let mut client = Raw::connect(server.addr).await;
    sender.send_data(Bytes::from("before ")).await.unwrap();
    client.send(get("/stream")).await;
    client.stream().readable().await.unwrap();
    server.handle.shutdown();
    server.handle.lifecycle().reached(Phase::LameDuck).await;
    if lame_duck.is_zero() {
        server.handle.lifecycle().reached(Phase::Draining).await;
    }
    sender.send_data(Bytes::from("after")).await.unwrap();
    drop(sender);
    let first = client.read_response().await;
    assert_eq!(first.text(), "before after");
    assert!(!first.closes(), "its head had left before");
    server.handle.lifecycle().reached(Phase::Draining).await;
    let second = client.ask(&get("/next")).await;
    assert_eq!((second.status, second.text().as_str()), (200, "/next"));
    assert!(second.closes());
    gate.let_one_go();
    assert_eq!(busy.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn drain_layer_refuses_with_retry_after() {
    let gate = Gate::new();
    let in_flight = InFlightLayer::new();
    let counted = in_flight.handle();
    let server = Knowing::start(Duration::ZERO, ms(5_000), |lifecycle| {
        ServiceBuilder::new()
            .layer(in_flight)
            .layer(
                DrainLayer::new(lifecycle)
                    .retry_after(ms(2_400))
                    .exempt(|head| head.uri.path() == "/healthz"),
            )
            .service(gate.app())
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(server.addr).await;
        assert_eq!(client.ask(GET).await.status, 200);
        clients.push(client);
    }
    let mut busy = Raw::connect(server.addr).await;
    busy.send(get("/slow")).await;
    gate.came().await;
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;

    let refused = clients[0].ask(GET).await;
    assert_eq!(refused.status, 503);
    assert!(refused.closes());
    assert_eq!(refused.header("retry-after"), Some("3"));
    assert!(refused.complete && refused.header("content-length").is_some());
    assert_eq!(clients[0].read_until_close().await.how, How::Fin);
    let healthy = clients[1].ask(get("/healthz")).await;
    assert_eq!((healthy.status, healthy.closes()), (200, true));

    assert_eq!(counted.count(), 1);
    gate.let_one_go();
    assert_eq!(busy.read_response().await.status, 200);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(counted.count(), 0);
}
