//! Deadlines and ends of single streams: the connection and its other streams go on.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::{InFlightLayer, Phase, Timeouts};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::ServiceBuilder;

use super::{Client, has, head, read, reset, rude, serves};
use crate::support::wire::END_STREAM;
use crate::support::{
    Gate, How, LIMIT, Server, Setup, app, channel, frames, full, kind, ms, reply, within,
};

#[tokio::test]
async fn dropped_stream_cancels_only_its_handler() {
    let gate = Gate::new();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new().layer(layer).service(gate.app());
    let server = Setup::new().start(service).await;
    let mut client = Client::connect(server.addr).await;
    let one = client.send("/slow/1");
    let two = client.send("/slow/2");
    gate.all_came(2).await;
    one.abort();
    while gate.dropped() == 0 {
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(in_flight.requests().len(), 1);
    assert_eq!(in_flight.requests()[0].path, "/slow/2");
    gate.let_go(1);
    let two = within(LIMIT, "an answer", two).await.unwrap().unwrap();
    assert_eq!(two.text(), "/slow/2");
    serves(&mut client).await;
    assert_eq!(in_flight.count(), 0);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn panic_resets_only_its_stream() {
    let gate = Gate::new();
    let inner = gate.app();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(app(move |request| {
            let mut inner = inner.clone();
            async move {
                if request.uri().path() == "/panics" {
                    panic!("as it should");
                }
                tower::Service::call(&mut inner, request).await.unwrap()
            }
        }));
    let server = Setup::new().start(service).await;
    let mut client = Client::connect(server.addr).await;
    let slow = client.send("/slow");
    gate.all_came(1).await;
    let error = client.get("/panics").await.unwrap_err();
    assert!(reset(&error).is_some(), "{error:?}");
    serves(&mut client).await;
    gate.let_go(1);
    let slow = within(LIMIT, "an answer", slow).await.unwrap().unwrap();
    assert_eq!(slow.status, 200);
    assert_eq!(in_flight.count(), 0);
    assert!(client.heard.first(kind::GOAWAY, 0).is_none());
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn write_timeout_ends_only_its_stream() {
    let gate = Gate::new();
    let timeouts = Timeouts::none().write(ms(300));
    let server = Server::start(timeouts, gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    let began = Instant::now();
    let late = client.send("/slow/late");
    gate.all_came(1).await;
    tokio::time::sleep(ms(200)).await;
    let early = client.send("/slow/early");
    gate.all_came(1).await;
    // Nothing of the answer was sent: a 503 takes its place.
    let late = within(LIMIT, "its end", late).await.unwrap().unwrap();
    assert_eq!(late.status, 503);
    assert!(
        began.elapsed() >= ms(280) && began.elapsed() < ms(470),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(gate.dropped(), 1, "its handler is cancelled");
    gate.let_go(1);
    let early = within(LIMIT, "an answer", early).await.unwrap().unwrap();
    assert_eq!(early.text(), "/slow/early");
    serves(&mut client).await;
    let reported = server.reported();
    let timeouts = reported
        .iter()
        .filter(|line| line.starts_with("timeout write"));
    assert_eq!(timeouts.count(), 1, "{reported:?}");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn stream_with_a_closed_window_is_reset_at_its_write_deadline() {
    // The body comes in one piece, and in many.
    let app = app(|request| async move {
        match request.uri().path() {
            "/one" => reply(200, vec![7; 200_000]),
            "/many" => {
                let (mut sender, body) = channel();
                tokio::spawn(async move {
                    while sender.send_data(Bytes::from(vec![7; 10_000])).await.is_ok() {}
                });
                Response::new(body)
            }
            _ => Response::new(full("good")),
        }
    });
    let timeouts = Timeouts::none().write(ms(300));
    let server = Server::start(timeouts, app).await;
    for path in ["/many", "/one"] {
        let mut client = Client::connect(server.addr).await;
        let began = Instant::now();
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = client.sender.send_request(request, true).unwrap();
        let body = within(LIMIT, "a head", answer).await.unwrap().into_body();
        // Nothing is read: the window is never opened again.
        let (_, reset) = within(ms(1_500), path, client.heard.until(kind::RST_STREAM, 1)).await;
        assert!(reset.code().is_some());
        assert!(began.elapsed() >= ms(250), "{path}: {:?}", began.elapsed());
        drop(body);
        serves(&mut client).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn stream_with_a_closed_window_stalls_without_a_write_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        deadlines.set_write(None);
        match request.uri().path() {
            "/large" => reply(200, vec![7; 1 << 20]),
            _ => Response::new(full("good")),
        }
    });
    let timeouts = Timeouts::default().write_stall(ms(300));
    let server = Server::start(timeouts, app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::get("http://a/large").body(()).unwrap();
    let (answer, _) = client.sender.send_request(request, true).unwrap();
    let body = within(LIMIT, "a head", answer).await.unwrap().into_body();
    let (at, _) = client.heard.until(kind::RST_STREAM, 1).await;
    assert!(at >= ms(280) && at < ms(1_300), "{at:?}");
    drop(body);
    serves(&mut client).await;
    let reported = server.reported();
    let stalls = reported
        .iter()
        .filter(|line| line.starts_with("timeout write_stall"));
    assert_eq!(stalls.count(), 1, "{reported:?}");
    drop(client);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_response_ends_with_and_without_trailers() {
    // The body has three pieces: its end waits until the last one is written, on another task and thread than this.
    const LENGTH: usize = 40_000;
    let app = app(|request| async move {
        let body = full(vec![7; LENGTH]);
        match request.uri().path() {
            "/trailers" => {
                let trailers = async { Some(Ok(http::HeaderMap::from_iter(trailer()))) };
                Response::new(body.with_trailers(trailers).boxed_unsync())
            }
            _ => Response::new(body),
        }
    });
    let server = Server::start(Timeouts::default(), app).await;
    let asked = (0..4).map(|_| {
        let addr = server.addr;
        tokio::spawn(async move {
            let mut client = Client::connect(addr).await;
            for round in 0..100 {
                let with = round % 2 == 0;
                let path = if with { "/trailers" } else { "/" };
                let request = Request::get(format!("http://a{path}")).body(()).unwrap();
                let (answer, _) = client.sender.send_request(request, true).unwrap();
                let mut body = within(LIMIT, "a head", answer).await.unwrap().into_body();
                let bytes = within(LIMIT, "its end", read(&mut body)).await.unwrap();
                assert_eq!(bytes.len(), LENGTH);
                let trailers = within(LIMIT, "trailers", body.trailers()).await.unwrap();
                assert_eq!(
                    trailers,
                    with.then(|| http::HeaderMap::from_iter(trailer()))
                );
            }
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    server.finish().await;
}

fn trailer() -> [(http::HeaderName, http::HeaderValue); 1] {
    let name = http::HeaderName::from_static("checksum");
    [(name, http::HeaderValue::from_static("7"))]
}

/// One byte more than the default window of a client.
const ONE_TOO_MANY: usize = 65_536;

#[tokio::test]
async fn unread_last_byte_has_a_deadline() {
    let app = app(|_| async { reply(200, vec![7; ONE_TOO_MANY]) });
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let app = ServiceBuilder::new().layer(layer).service(app);
    let mut server = Server::start(Timeouts::none().write(ms(300)), app).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/", END_STREAM)).await;
    client.mark();
    let ending = client.read_until_close_for(ms(1_500)).await;
    let ended = ending.how != How::StillOpen || has(&frames(&ending.bytes), kind::RST_STREAM, 1);
    assert!(ended, "{:?}", ending.how);
    assert_eq!(in_flight.count(), 0);
    drop(client);
    server.until_open(0).await;
    assert!(server.drain().await.is_clean());
}

#[tokio::test]
async fn unread_last_byte_counts_as_in_flight() {
    let app = app(|_| async { reply(200, vec![7; ONE_TOO_MANY]) });
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/almost", END_STREAM)).await;
    let before = client.read_until_close_for(ms(100)).await;
    assert!(has(&frames(&before.bytes), kind::DATA, 1));
    let report = server.drain().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(report.cut[0].path, "/almost");
    assert_eq!(report.cut[0].state, "sending the response");
    drop(client);
}

#[tokio::test]
async fn read_timeout_is_an_error_of_the_streams_body() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) if error.is_timeout() => reply(408, "too slow"),
            Err(error) => reply(400, error.to_string()),
        }
    });
    let timeouts = Timeouts::none().read(ms(300));
    let server = Server::start(timeouts, app).await;
    let mut client = Client::connect(server.addr).await;
    let post = |path: &str| Request::post(format!("http://a{path}")).body(()).unwrap();
    let began = Instant::now();
    let (slow, mut slow_body) = client.sender.send_request(post("/slow"), false).unwrap();
    slow_body.send_data(Bytes::from("half"), false).unwrap();
    let (quick, mut quick_body) = client.sender.send_request(post("/quick"), false).unwrap();
    tokio::time::sleep(ms(100)).await;
    quick_body
        .send_data(Bytes::from("all of it"), true)
        .unwrap();
    let quick = within(LIMIT, "an answer", quick).await.unwrap();
    assert_eq!(quick.status(), 200);
    let slow = within(LIMIT, "an answer", slow).await.unwrap();
    assert_eq!(slow.status(), 408);
    assert!(
        began.elapsed() >= ms(280) && began.elapsed() < ms(1_000),
        "{:?}",
        began.elapsed()
    );
    serves(&mut client).await;
    drop((client, slow_body, quick_body, slow, quick));
    server.finish().await;
}

#[tokio::test]
async fn handler_moves_its_deadlines() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
        match request.uri().path() {
            "/longer" => deadlines.set_write(ms(2_000)),
            "/off" => deadlines.set_write(None),
            "/shorter" => deadlines.set_write(ms(80)),
            "/left" => {}
            _ => return reply(200, "at once"),
        }
        tokio::time::sleep(ms(500)).await;
        reply(200, "done")
    });
    let server = Server::start(Timeouts::none().write(ms(250)), app).await;
    let mut client = Client::connect(server.addr).await;
    let began = Instant::now();
    let [longer, off, shorter, left] =
        ["/longer", "/off", "/shorter", "/left"].map(|path| client.send(path));
    let (ended, mut ends) = mpsc::unbounded_channel();
    for (name, answer) in [
        ("longer", longer),
        ("off", off),
        ("shorter", shorter),
        ("left", left),
    ] {
        let ended = ended.clone();
        tokio::spawn(async move {
            let answer = within(LIMIT, name, answer).await.unwrap();
            let answered = answer.unwrap().status == 200;
            let _ = ended.send((name, began.elapsed(), answered));
        });
    }
    drop(ended);
    while let Some((name, at, answered)) = ends.recv().await {
        let (from, to, expected) = match name {
            "shorter" => (ms(60), ms(245), false),
            "left" => (ms(230), ms(480), false),
            _ => (ms(480), ms(1_500), true),
        };
        assert_eq!(answered, expected, "{name} at {at:?}");
        assert!(at >= from && at < to, "{name} at {at:?}");
    }
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn handler_moves_the_deadline_of_its_body() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
        match request.uri().path() {
            "/longer" => deadlines.set_read(ms(2_000)),
            "/off" => deadlines.set_read(None),
            "/shorter" => deadlines.set_read(ms(80)),
            _ => {}
        }
        match request.into_body().collect().await {
            Ok(_) => reply(200, "all"),
            Err(error) => reply(if error.is_timeout() { 408 } else { 400 }, "slow"),
        }
    });
    let server = Server::start(Timeouts::none().read(ms(250)), app).await;
    let mut client = Client::connect(server.addr).await;
    let mut running = Vec::new();
    for (path, status) in [
        ("/longer", 200),
        ("/off", 200),
        ("/shorter", 408),
        ("/left", 408),
    ] {
        let request = Request::post(format!("http://a{path}")).body(()).unwrap();
        let (answer, body) = client.sender.send_request(request, false).unwrap();
        running.push((path, status, answer, body));
    }
    tokio::time::sleep(ms(500)).await;
    for (path, status, answer, mut body) in running {
        // The streams that timed out have been reset.
        let _ = body.send_data(Bytes::from("all"), true);
        let answer = within(LIMIT, path, answer).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn connections_and_streams_are_counted() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    for _ in 0..5 {
        let mut client = Client::connect(server.addr).await;
        for _ in 0..20 {
            serves(&mut client).await;
        }
        client.ended().await;
    }
    server.until_open(0).await;
    let report = server.drain().await;
    assert_eq!((report.requests, report.connections), (100, 5));
    assert_eq!(server.handle.lifecycle().phase(), Phase::Closed);
}
