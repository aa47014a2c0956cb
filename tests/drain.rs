//! What a drain does to HTTP/1 connections: nothing that was asked is lost, nothing hangs, and what
//! is cut is named.
#![cfg(feature = "serve")]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use lameduck::drain::Draining;
use lameduck::serve::RequestBody;
use lameduck::{DrainLayer, InFlightLayer, Limits, Phase};
use support::{App, Ending, How, Raw, Server, Setup, app, channel, ms, reply, within};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::Layer;
use tower::util::BoxCloneService;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn hello() -> App {
    app(|_| async { reply(200, "hello") })
}

/// A service that says when it has a request, and answers each when it is let.
#[derive(Clone)]
struct Gate {
    came: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> Gate {
        Gate {
            came: Arc::new(Semaphore::new(0)),
            let_go: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
        }
    }

    /// Holds back what is asked of `/slow`.
    fn app(&self) -> App {
        let gate = self.clone();
        app(move |request| {
            let gate = gate.clone();
            async move {
                gate.calls.fetch_add(1, Relaxed);
                if request.uri().path() == "/slow" {
                    gate.came.add_permits(1);
                    gate.let_go.acquire().await.unwrap().forget();
                }
                reply(200, request.uri().path().to_owned())
            }
        })
    }

    async fn came(&self) {
        let came = self.came.acquire();
        within(support::LIMIT, "a request", came)
            .await
            .unwrap()
            .forget();
    }

    fn let_one_go(&self) {
        self.let_go.add_permits(1);
    }

    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

/// Closed without an answer or with a refusal: nobody was promised anything.
fn unanswered(ending: &Ending) {
    assert_ne!(ending.how, How::StillOpen, "{ending:?}");
    for answer in ending.answers() {
        assert_eq!(answer.status, 408, "{ending:?}");
        assert!(answer.closes(), "{ending:?}");
    }
}

// === fresh connections ===

#[tokio::test]
async fn what_waits_in_the_accept_queue_is_answered() {
    let mut server = Setup::new().start(hello()).await;
    // Nothing is awaited here: the accept loop, on this thread, cannot run.
    let connections: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
            stream.write_all(GET.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.open(), 0);
    server.handle.drain_now();
    for stream in connections {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut client = Raw::from_stream(stream);
        let ending = client.read_until_close().await;
        assert_eq!(ending.how, How::Fin);
        let answer = ending.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert!(answer.closes());
    }
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (50, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_as_the_drain_begins_is_answered() {
    for round in 0..40u64 {
        let mut server = Setup::new().start(hello()).await;
        let mut client = server.connect().await;
        let handle = server.handle.clone();
        // Both at once, and now the one and now the other a little earlier.
        let drain = tokio::spawn(async move {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            handle.drain_now();
        });
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        client.send(GET).await;
        let ending = client.read_until_close().await;
        drain.await.unwrap();
        assert_eq!(ending.how, How::Fin, "round {round}");
        assert_eq!(ending.answer().status, 200, "round {round}");
        let report = server.report().await;
        assert!(report.is_clean(), "round {round}: {report}");
        assert_eq!(report.requests, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_fresh_connection_has_the_window_to_send_its_request() {
    let mut server = Setup::new().start(hello()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    server.handle.drain_now();
    tokio::time::sleep(ms(150)).await;
    let answer = client.ask(GET).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn the_window_begins_with_the_drain_and_not_with_the_connection() {
    for first in ["", "P"] {
        let limits = Limits::default().drain_window(ms(300));
        let mut server = Setup::new().limits(limits).start(hello()).await;
        let mut client = server.connect().await;
        client.send(first).await;
        server.until_open(1).await;
        tokio::time::sleep(ms(400)).await;
        server.handle.drain_now();
        tokio::time::sleep(ms(60)).await;
        let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        client.send(&request[first.len()..]).await;
        let answer = client.read_response().await;
        assert_eq!(answer.status, 200, "after {first:?}");
        assert!(answer.closes(), "after {first:?}");
        assert!(server.report().await.is_clean(), "after {first:?}");
    }
}

#[tokio::test]
async fn a_fresh_connection_that_says_nothing_is_closed_when_the_window_is_over() {
    let limits = Limits::default().drain_window(ms(200));
    let mut server = Setup::new().limits(limits).start(hello()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    client.mark();
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(700), "{report}");
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
}

// === half a head ===

/// A connection with half a head on it: its first, or after a request that was answered.
async fn with_half_a_head(server: &Server, fresh: bool, half: &str) -> Raw {
    let mut client = server.connect().await;
    if !fresh {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    client.send(half).await;
    server.until_open(1).await;
    // Long enough that it has surely been read; nothing depends on it.
    tokio::time::sleep(ms(30)).await;
    client
}

#[tokio::test]
async fn half_a_head_that_becomes_whole_in_the_window_is_answered() {
    for fresh in [true, false] {
        for half in ["P", "POST / HT", "POST / HTTP/1.1\r\nhost: a\r\ncontent-"] {
            let mut server = Setup::new().start(hello()).await;
            let mut client = with_half_a_head(&server, fresh, half).await;
            server.handle.drain_now();
            tokio::time::sleep(ms(80)).await;
            let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
            client.send(&request[half.len()..]).await;
            let answer = client.read_response().await;
            assert_eq!(answer.status, 200, "{half:?}, fresh: {fresh}");
            assert!(answer.closes(), "{half:?}, fresh: {fresh}");
            let report = server.report().await;
            assert!(report.is_clean(), "{half:?}, fresh: {fresh}: {report}");
        }
    }
}

#[tokio::test]
async fn half_a_head_that_stays_half_is_closed_when_the_window_is_over() {
    for fresh in [true, false] {
        for half in ["P", "GET / HTTP/1.1\r\nho"] {
            let limits = Limits::default().drain_window(ms(150));
            let mut server = Setup::new().limits(limits).start(hello()).await;
            let mut client = with_half_a_head(&server, fresh, half).await;
            client.mark();
            server.handle.drain_now();
            let ending = client.read_until_close().await;
            let case = format!("{half:?}, fresh: {fresh}");
            unanswered(&ending);
            assert!(ending.at >= ms(100), "{case}: {ending:?}");
            assert!(ending.at < ms(1_000), "{case}: {ending:?}");
            drop(client);
            let report = server.report().await;
            assert!(report.is_clean(), "{case}: {report}");
        }
    }
}

#[tokio::test]
async fn a_head_that_drips_does_not_stretch_the_window() {
    let limits = Limits::default().drain_window(ms(200));
    let mut server = Setup::new().limits(limits).start(hello()).await;
    let mut client = with_half_a_head(&server, true, "GET / HTTP/1.1\r\n").await;
    client.mark();
    server.handle.drain_now();
    while client.elapsed() < ms(1_500) {
        if client.try_send("a: b\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(ms(25)).await;
    }
    assert!(client.elapsed() < ms(1_400), "dripping for {:?}", client.elapsed());
    assert!(server.report().await.is_clean());
}

// === pipelined ===

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Setup::new().start(Gate::new().app()).await;
    let mut client = server.connect().await;
    client.send(get("/1") + &get("/2") + &get("/3")).await;
    for path in ["/1", "/2", "/3"] {
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, path));
        assert!(!answer.closes());
    }
    // And the last of them in two pieces.
    client.send(get("/4") + &get("/5")[..9]).await;
    assert_eq!(client.read_response().await.text(), "/4");
    tokio::time::sleep(ms(30)).await;
    client.send(&get("/5")[9..]).await;
    assert_eq!(client.read_response().await.text(), "/5");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn a_pipelined_request_behind_one_that_is_asked_to_leave_is_not_executed() {
    for second in [get("/2"), get("/2")[..9].to_owned(), get("/2").repeat(300)] {
        let gate = Gate::new();
        let mut server = Setup::new().start(gate.app()).await;
        let mut client = server.connect().await;
        client.send(get("/slow") + &second).await;
        gate.came().await;
        server.handle.drain_now();
        server.handle.lifecycle().reached(Phase::Draining).await;
        gate.let_one_go();
        let ending = client.read_until_close().await;
        let answer = ending.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "/slow"));
        assert!(answer.closes(), "{answer:?}");
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(1_500), "it hangs: {report}");
        assert_eq!((gate.calls(), report.requests), (1, 1));
    }
}

#[tokio::test]
async fn a_pipelined_request_behind_one_that_was_not_asked_to_leave_is_answered() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |request| {
        let body = body.clone();
        async move {
            match request.uri().path() {
                "/stream" => http::Response::new(body.lock().unwrap().take().unwrap()),
                path => reply(200, path.to_owned()),
            }
        }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    let mut sender = sender;
    sender.send_data(Bytes::from("before ")).await.unwrap();
    client.send(get("/stream") + &get("/next")).await;
    // Its head is out, and says nothing of leaving.
    client.read_some().await;
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;
    sender.send_data(Bytes::from("after")).await.unwrap();
    drop(sender);
    let first = client.read_response().await;
    assert_eq!(first.text(), "before after");
    assert!(!first.closes());
    let second = client.read_response().await;
    assert_eq!(second.text(), "/next");
    assert!(second.closes());
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

// === what is in flight, and what is idle ===

#[tokio::test]
async fn a_stream_goes_on_to_its_end_through_a_drain() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { http::Response::new(body) }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    let mut sender = sender;
    client.send(get("/stream")).await;
    sender.send_data(Bytes::from("0,")).await.unwrap();
    client.read_some().await;
    server.handle.drain_now();
    for number in 1..8 {
        tokio::time::sleep(ms(40)).await;
        let sent = sender.send_data(Bytes::from(format!("{number},"))).await;
        sent.expect("it is still wanted");
    }
    drop(sender);
    let ended = Instant::now();
    let answer = client.read_response().await;
    assert!(answer.complete);
    assert_eq!(answer.text(), "0,1,2,3,4,5,6,7,");
    let report = server.report().await;
    assert!(ended.elapsed() < ms(250), "{:?}", ended.elapsed());
    assert!(report.is_clean(), "{report}");
    assert!(report.drain >= ms(250), "{report}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_last() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut busy = server.connect().await;
    busy.send(get("/slow")).await;
    gate.came().await;
    server.handle.drain_now();
    let early = idle.read_until_close_for(ms(200)).await;
    assert_eq!(early.how, How::StillOpen, "while a request is in flight");
    let let_go = Instant::now();
    gate.let_one_go();
    let answer = busy.read_response().await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    let ending = idle.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
    assert!(let_go.elapsed() < ms(400), "{:?}", let_go.elapsed());
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_request_on_an_idle_connection_is_answered_while_others_are_in_flight() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut busy = server.connect().await;
    busy.send(get("/slow")).await;
    gate.came().await;
    server.handle.drain_now();
    tokio::time::sleep(ms(50)).await;
    let answer = idle.ask(get("/once/more")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "/once/more"));
    assert!(answer.closes());
    gate.let_one_go();
    assert_eq!(busy.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn a_thousand_idle_connections_are_no_work() {
    let mut server = Setup::new().start(hello()).await;
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = server.connect().await;
        assert_eq!(client.ask(GET).await.status, 200);
        clients.push(client);
    }
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(400), "{report}");
    for mut client in clients {
        assert_eq!(client.read_until_close().await.how, How::Fin);
    }
}

// === streams that have no end of their own ===

fn events(heed: bool) -> App {
    app(move |request: Request<RequestBody>| async move {
        let draining = request.extensions().get::<Draining>().unwrap().clone();
        let (mut sender, body) = channel();
        tokio::spawn(async move {
            let events = async {
                while sender.send_data(Bytes::from("data: x\n\n")).await.is_ok() {
                    tokio::time::sleep(ms(20)).await;
                }
            };
            if heed {
                tokio::select! {
                    () = events => {}
                    () = draining.draining() => {}
                }
                let _ = sender.send_data(Bytes::from("data: bye\n\n")).await;
            } else {
                events.await;
            }
        });
        http::Response::builder()
            .header("content-type", "text/event-stream")
            .body(body)
            .unwrap()
    })
}

/// `app` under a [`DrainLayer`] that knows the server's phase, which exists only once the server does.
fn under_drain_layer(app: App) -> (App, impl FnOnce(&Server)) {
    let lifecycle = lameduck::Lifecycle::new();
    let layer = DrainLayer::new(&lifecycle);
    let follow = move |server: &Server| {
        let theirs = server.handle.lifecycle().clone();
        tokio::spawn(async move {
            for phase in [Phase::LameDuck, Phase::Draining] {
                theirs.reached(phase).await;
                lifecycle.advance(phase);
            }
        });
    };
    (BoxCloneService::new(layer.layer(MapBody(app))), follow)
}

/// Boxes a layer's body again.
#[derive(Clone)]
struct MapBody(App);

impl tower::Service<Request<RequestBody>> for MapBody {
    type Response = http::Response<support::Body>;
    type Error = std::convert::Infallible;
    type Future = <App as tower::Service<Request<RequestBody>>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.0.call(request)
    }
}
