//! A drain finishes the streams in flight, and loses no request that crosses its GOAWAY.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::RequestBody;
use lameduck::{DrainLayer, Shutdown};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::ServiceBuilder;

use super::{Client, has, head, heard_until, read, rude, serves};
use crate::support::wire::END_STREAM;
use crate::support::{Frames, Gate, LIMIT, Setup, app, channel, frames, kind, ms, reply, within};

#[tokio::test]
async fn streams_in_flight_finish_through_a_drain() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    let answers: Vec<_> = (0..20)
        .map(|number| client.send(&format!("/slow/{number}")))
        .collect();
    gate.all_came(20).await;
    server.handle.drain_now();
    let (_, goaway) = client.heard.until(kind::GOAWAY, 0).await;
    assert_eq!(goaway.code(), Some(0), "in peace");
    tokio::time::sleep(ms(150)).await;
    assert_eq!(gate.dropped(), 0);
    gate.let_go(20);
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = within(LIMIT, "an answer", answer).await.unwrap().unwrap();
        assert_eq!(answer.text(), format!("/slow/{number}"));
    }
    let finished = Instant::now();
    client.ended().await;
    let report = server.report().await;
    assert!(finished.elapsed() < ms(400), "{:?}", finished.elapsed());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (20, 1));
}

#[tokio::test]
async fn stream_finishes_through_a_drain() {
    let (mut sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let answer = client.send("/stream");
    client.heard.until(kind::HEADERS, 1).await;
    server.handle.drain_now();
    for number in 0..6 {
        tokio::time::sleep(ms(40)).await;
        let sent = sender.send_data(Bytes::from(format!("{number},"))).await;
        sent.expect("it is still wanted");
    }
    drop(sender);
    let answer = within(LIMIT, "an answer", answer).await.unwrap().unwrap();
    assert_eq!(answer.text(), "0,1,2,3,4,5,");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(
        report.drain >= ms(200) && report.drain < ms(900),
        "{report}"
    );
}

#[tokio::test]
async fn upload_finishes_through_a_drain() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) => reply(400, error.to_string()),
        }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::post("http://a/").body(()).unwrap();
    let (answer, mut body) = client.sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from("0"), false).unwrap();
    tokio::time::sleep(ms(30)).await;
    server.handle.drain_now();
    for (byte, last) in [("1", false), ("2", false), ("3", true)] {
        tokio::time::sleep(ms(150)).await;
        body.send_data(Bytes::from(byte), last).unwrap();
    }
    let answer = within(LIMIT, "an answer", answer).await.unwrap();
    let bytes = within(LIMIT, "its body", read(&mut answer.into_body())).await;
    assert_eq!(bytes.unwrap(), b"0123");
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn idle_connections_leave_at_once() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(300), "{report}");
    for client in clients {
        assert!(client.heard.first(kind::GOAWAY, 0).is_some());
        client.ended().await;
    }
}

#[tokio::test]
async fn slowly_read_response_is_whole() {
    // The body is one piece, far over the window that the client gives.
    let app = app(|_| async { reply(200, vec![7; 300_000]) });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::get("http://a/").body(()).unwrap();
    let (answer, _) = client.sender.send_request(request, true).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    server.handle.drain_now();
    tokio::time::sleep(ms(1_250)).await;
    let mut body = answer.into_body();
    let bytes = within(LIMIT, "the body", read(&mut body)).await;
    assert_eq!(bytes.expect("the whole body").len(), 300_000);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn stream_that_ignores_the_drain_is_cut_and_reported() {
    let gate = Gate::new();
    let mut server = Setup::new().drain(ms(300)).start(gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    serves(&mut client).await;
    let one = client.send("/slow/1?token=secret");
    let two = client.send("/slow/2");
    gate.all_came(2).await;
    server.handle.drain_now();
    for answer in [one, two] {
        let answer = within(LIMIT, "its end", answer).await.unwrap();
        answer.expect_err("it was cut");
    }
    let report = server.report().await;
    let mut named: Vec<_> = report.cut.iter().map(|cut| cut.path.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["/slow/1", "/slow/2"], "{report}");
    for cut in &report.cut {
        assert_eq!((cut.method.as_str(), cut.state), ("GET", "in the handler"));
        assert!(cut.peer.is_some() && cut.age >= ms(290), "{cut}");
    }
    assert!(
        report.drain >= ms(290) && report.drain < ms(390),
        "{report}"
    );
    assert_eq!(gate.dropped(), 3, "the handlers are cancelled");
    let reported = server.reported();
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("connection closed") && line.ends_with(": cut")),
        "{reported:?}"
    );
}

#[tokio::test]
async fn goaway_comes_in_the_second_half_of_the_lame_duck_window() {
    const WINDOW: Duration = ms(1_000);
    let mut server = Setup::new()
        .lame_duck(WINDOW)
        .start(Gate::new().app())
        .await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    let signals: Vec<_> = clients
        .iter()
        .map(|client| client.heard.elapsed())
        .collect();
    server.handle.shutdown();
    tokio::time::sleep(WINDOW / 4).await;
    for client in &mut clients {
        serves(client).await;
    }
    let mut waits = Vec::new();
    for (client, signal) in clients.iter().zip(signals) {
        let (at, goaway) = client.heard.until(kind::GOAWAY, 0).await;
        assert_eq!(goaway.code(), Some(0), "in peace");
        waits.push(at.saturating_sub(signal));
    }
    for wait in &waits {
        assert!(*wait >= WINDOW * 48 / 100, "in the first half: {waits:?}");
        assert!(*wait <= WINDOW + ms(100), "too late: {waits:?}");
    }
    let (first, last) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*last - *first > ms(25), "all at once: {waits:?}");
    for client in clients {
        client.ended().await;
    }
    assert!(server.report().await.is_clean());
}

/// A client that is sent away and finds nothing else connects again. Each GOAWAY costs some clients a request that they
/// had taken for sent, so it gets one more, not one after another.
#[tokio::test]
async fn client_that_comes_back_in_the_lame_duck_is_sent_away_once_more() {
    const WINDOW: Duration = ms(1_000);
    let mut server = Setup::new()
        .lame_duck(WINDOW)
        .start(Gate::new().app())
        .await;
    let mut client = Client::connect(server.addr).await;
    serves(&mut client).await;
    let signal = Instant::now();
    server.handle.shutdown();
    client.heard.until(kind::GOAWAY, 0).await;

    let mut again = Client::connect(server.addr).await;
    serves(&mut again).await;
    again.heard.until(kind::GOAWAY, 0).await;
    let waited = signal.elapsed();
    assert!(
        waited >= WINDOW,
        "sent away again in the lame duck: {waited:?}"
    );
    again.ended().await;
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn request_crossing_the_lame_duck_goaway_is_answered() {
    let mut server = Setup::new()
        .lame_duck(ms(2_000))
        .start(Gate::new().app())
        .await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/one", END_STREAM)).await;
    let mut partial = Frames::default();
    heard_until(&mut client, &mut partial, "the answer", |heard| {
        has(heard, kind::DATA, 1)
    })
    .await;
    server.handle.shutdown();
    let heard = heard_until(&mut client, &mut partial, "a PING", |heard| {
        has(heard, kind::PING, 0)
    })
    .await;
    // RFC 9113, 6.8: the client has a round trip's time before it is to acknowledge anything.
    let ahead = heard.iter().take_while(|frame| frame.kind != kind::PING);
    let goaways = ahead.filter(|frame| frame.kind == kind::GOAWAY).count();
    assert_eq!(goaways, 2, "{heard:?}");
    // The request was on its way when the GOAWAYs were sent.
    client.send(head(3, "/three", END_STREAM)).await;
    let ending = client.read_until_close().await;
    let after = frames(&ending.bytes);
    assert!(has(&after, kind::DATA, 3), "{after:?}");
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn goaway_comes_between_two_frames_at_full_speed() {
    const LENGTH: usize = 400_000;
    let bytes: Bytes = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let meant = bytes.clone();
    let app = app(move |_| {
        let bytes = bytes.clone();
        let (mut sender, body) = channel();
        tokio::spawn(async move {
            for (number, piece) in bytes.chunks(7_001).enumerate() {
                let sent = sender.send_data(bytes.slice_ref(piece)).await;
                if sent.is_err() {
                    return;
                }
                if number % 8 == 0 {
                    tokio::time::sleep(ms(10)).await;
                }
            }
        });
        async { Response::new(body) }
    });
    let setup = Setup::new().lame_duck(ms(400)).drain(LIMIT * 2);
    let mut server = setup.start(app).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    server.handle.shutdown();
    let clients = clients.into_iter().map(|mut client| {
        let meant = meant.clone();
        async move {
            let mut whole = 0;
            while client.heard.first(kind::GOAWAY, 0).is_none() {
                let answers = [client.send("/a"), client.send("/b"), client.send("/c")];
                for answer in answers {
                    let answer = within(LIMIT * 2, "an answer", answer).await.unwrap();
                    let body = answer.expect("a whole answer").body;
                    assert_eq!(body.len(), LENGTH);
                    assert!(body == meant, "as it was sent");
                    whole += 1;
                }
            }
            client.ended().await;
            whole
        }
    });
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    for client in clients {
        assert!(client.await.unwrap() >= 3);
    }
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn request_crossing_the_goaway_is_answered() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    let mut client = Client::connect(server.addr).await;
    serves(&mut client).await;
    // The request is sent before the client can know of the drain.
    server.handle.drain_now();
    let answer = client.get("/crossing").await.unwrap();
    assert_eq!(answer.text(), "/crossing");
    client.ended().await;
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn drain_layer_refuses_without_a_connection_header() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let gate = Gate::new();
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(handle.lifecycle()).retry_after(Duration::from_secs(2)))
        .service(gate.app());
    let serve = lameduck::serve(listener, service).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut client = Client::connect(addr).await;
    let slow = client.send("/slow");
    gate.all_came(1).await;
    handle.drain_now();
    let refused = client.get("/crossing").await.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "2");
    assert!(!refused.headers.contains_key("connection"), "{refused:?}");
    gate.let_go(1);
    let slow = within(LIMIT, "an answer", slow).await.unwrap().unwrap();
    assert_eq!(slow.status, 200);
    let report = within(LIMIT, "the report", report).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn tunnel_is_waited_for_then_cut_and_reported() {
    let app = app(|mut request: Request<RequestBody>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        reply(200, "")
    });
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("db.internal:5432")
        .body(())
        .unwrap();
    let (answer, mut to) = client.sender.send_request(request, false).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    let mut from = answer.into_body();
    to.send_data(Bytes::from("hello"), false).unwrap();
    let echo = within(LIMIT, "the echo", from.data()).await;
    assert_eq!(echo.unwrap().unwrap(), "hello");
    server.handle.drain_now();
    tokio::time::sleep(ms(100)).await;
    to.send_data(Bytes::from("again"), false).unwrap();
    let echo = within(LIMIT, "the echo", from.data()).await;
    assert_eq!(echo.unwrap().unwrap(), "again", "it is waited for");
    let report = server.report().await;
    assert!(
        report.drain >= ms(290) && report.drain < ms(900),
        "{report}"
    );
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(report.cut[0].method, "CONNECT", "{report}");
}
