//! Draining HTTP/1 connections: no accepted request is lost, nothing hangs, and cut requests are reported.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::drain::Draining;
use lameduck::serve::RequestBody;
use lameduck::shutdown::ConnectionState;
use lameduck::{DrainLayer, InFlightLayer, Limits, Phase, Shutdown, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};

use crate::support::{
    App, Ending, Gate, How, Knowing, Raw, Server, Setup, answers, app, channel, ms, reply, within,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn hello() -> App {
    app(|_| async { reply(200, "hello") })
}

/// Asserts that the connection closed without an answer or with a refusal: the client was promised nothing.
fn unanswered(ending: &Ending) {
    assert_ne!(ending.how, How::StillOpen, "{ending:?}");
    for answer in ending.answers() {
        assert_eq!(answer.status, 408, "{ending:?}");
        assert!(answer.closes(), "{ending:?}");
    }
}

// === fresh connections ===

#[tokio::test]
async fn queued_connections_are_answered() {
    expect_queued_connections_answered(Limits::default()).await;
}

#[tokio::test]
async fn queued_requests_are_answered_without_a_window() {
    expect_queued_connections_answered(Limits::default().drain_window(Duration::ZERO)).await;
}

async fn expect_queued_connections_answered(limits: Limits) {
    let mut server = Setup::new().limits(limits).start(hello()).await;
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
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        within(crate::support::LIMIT, "an answer", read)
            .await
            .unwrap();
        let answers = answers(&bytes);
        assert_eq!(answers.len(), 1);
        assert_eq!(
            (answers[0].status, answers[0].text().as_str()),
            (200, "hello")
        );
        assert!(answers[0].closes());
    }
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (50, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_sent_as_the_drain_begins_is_answered() {
    for round in 0..40u64 {
        let mut server = Setup::new().start(hello()).await;
        let mut client = server.connect().await;
        let handle = server.handle.clone();
        // Both happen at once, or one slightly before the other.
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

#[tokio::test(start_paused = true)]
async fn fresh_connection_has_the_window_to_send_its_request() {
    let mut server = Setup::new().start_in_memory(hello()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    server.handle.drain_now();
    // The default window is 500 ms.
    tokio::time::sleep(ms(490)).await;
    let answer = client.ask(GET).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn window_begins_with_the_drain_not_the_connection() {
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
async fn silent_fresh_connection_is_closed_after_the_window() {
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

/// Halves of a head, and the whole of it.
const HALVES: [&str; 3] = ["P", "POST / HT", "POST / HTTP/1.1\r\nhost: a\r\ncontent-"];
const WHOLE: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";

/// Sends the rest of the head, and asserts an answer that asks to leave.
async fn the_rest_is_answered(client: &mut Raw, half: &str, before: usize) {
    client.send(&WHOLE[half.len()..]).await;
    let answer = client.read_response().await;
    assert_eq!(answer.status, 200, "{half:?} after {before}");
    assert!(answer.closes(), "{half:?} after {before}");
}

// === with the drain layer, clients that could not know of the drain ===

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

// === half a head ===

/// Returns a connection with a partial head on it, after so many answered requests: fresh, idle or busy before.
async fn with_half_a_head(server: &Server, before: usize, half: &str) -> Raw {
    let mut client = server.connect().await;
    for _ in 0..before {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    client.send(half).await;
    server.until_open(1).await;
    // The wait is long enough to have it read; nothing depends on it.
    tokio::time::sleep(ms(30)).await;
    client
}

#[tokio::test]
async fn partial_head_completed_in_the_window_is_answered() {
    for before in [0, 1, 3] {
        for half in HALVES {
            let mut server = Setup::new().start(hello()).await;
            let mut client = with_half_a_head(&server, before, half).await;
            server.handle.drain_now();
            tokio::time::sleep(ms(80)).await;
            the_rest_is_answered(&mut client, half, before).await;
            let report = server.report().await;
            assert!(report.is_clean(), "{half:?} after {before}: {report}");
        }
    }
}

#[tokio::test]
async fn partial_head_is_closed_after_the_window() {
    for before in [0, 1, 3] {
        for half in ["P", "GET / HTTP/1.1\r\nho"] {
            let limits = Limits::default().drain_window(ms(150));
            let mut server = Setup::new().limits(limits).start(hello()).await;
            let mut client = with_half_a_head(&server, before, half).await;
            client.mark();
            server.handle.drain_now();
            let ending = client.read_until_close().await;
            let case = format!("{half:?} after {before}");
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
async fn trickling_head_does_not_extend_the_window() {
    let limits = Limits::default().drain_window(ms(200));
    let mut server = Setup::new().limits(limits).start(hello()).await;
    let mut client = with_half_a_head(&server, 0, "GET / HTTP/1.1\r\n").await;
    client.mark();
    server.handle.drain_now();
    while client.elapsed() < ms(1_500) {
        if client.try_send("a: b\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(ms(25)).await;
    }
    assert!(
        client.elapsed() < ms(1_400),
        "dripping for {:?}",
        client.elapsed()
    );
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
    // The last request arrives in two pieces.
    client.send(get("/4") + &get("/5")[..9]).await;
    assert_eq!(client.read_response().await.text(), "/4");
    tokio::time::sleep(ms(30)).await;
    client.send(&get("/5")[9..]).await;
    assert_eq!(client.read_response().await.text(), "/5");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn pipelined_request_behind_a_closing_answer_is_not_executed() {
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
async fn pipelined_request_behind_an_answer_without_close_is_answered() {
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
    // The head has been sent, without `Connection: close`.
    client.stream().readable().await.unwrap();
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
async fn stream_finishes_through_a_drain() {
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
    client.stream().readable().await.unwrap();
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
async fn upload_finishes_through_a_drain() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) => reply(400, error.to_string()),
        }
    });
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
    ] {
        let mut server = Setup::new().start(app.clone()).await;
        let mut client = server.connect().await;
        client.send(head).await;
        if head.contains("expect") {
            assert_eq!(client.read_response().await.status, 100);
        }
        client.send("0").await;
        server.until_open(1).await;
        tokio::time::sleep(ms(30)).await;
        server.handle.drain_now();
        // The upload outlasts the window, which is for heads.
        for byte in ["1", "2", "3", "4"] {
            tokio::time::sleep(ms(150)).await;
            client.send(byte).await;
        }
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "01234"));
        assert!(answer.closes());
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test]
async fn slowly_read_answer_is_whole() {
    const LENGTH: usize = 12 * 1024 * 1024;
    let app = app(|_| async { reply(200, vec![7; LENGTH]) });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    client.stream().readable().await.unwrap();
    server.handle.drain_now();
    tokio::time::sleep(ms(700)).await;
    assert_eq!(server.open(), 1, "it is waited for");
    let answer = client.read_response().await;
    assert!(answer.complete && answer.body.len() == LENGTH);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain >= ms(650), "{report}");
}

#[tokio::test]
async fn client_answered_before_the_end_of_its_request_delays_no_one() {
    // The body is short enough to be discarded, so that the connection could be reused; but its rest does not arrive.
    let mut server = Setup::new().start(hello()).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf")
        .await;
    assert_eq!(client.read_response().await.status, 200);
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(1_500), "{report}");
    assert_eq!(client.read_until_close().await.bytes, b"");
}

#[tokio::test]
async fn idle_connection_is_closed_last() {
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
async fn request_on_an_idle_connection_is_answered_during_a_drain() {
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

/// Returns the processor time of this thread.
fn worked() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

#[tokio::test]
async fn hundreds_of_idle_connections_cost_no_cpu() {
    let mut server = Setup::new().start(hello()).await;
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = server.connect().await;
        assert_eq!(client.ask(GET).await.status, 200);
        clients.push(client);
    }
    // On a clock that stands still while anyone has work, and by the work itself: neither counts what other
    // processes take.
    tokio::time::pause();
    let before = worked();
    let report = server.drain().await;
    let work = worked() - before;
    tokio::time::resume();
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(400), "{report}");
    assert!(work < ms(400), "{work:?}");
    for mut client in clients {
        assert_eq!(client.read_until_close().await.how, How::Fin);
    }
}

// === streams that have no end of their own ===

/// Builds endless server-sent events; with `heed` they end when the process begins to leave.
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

#[tokio::test]
async fn stream_that_ignores_the_drain_is_cut_at_the_deadline_and_reported() {
    let server = Knowing::start(Duration::ZERO, ms(400), |lifecycle| {
        ServiceBuilder::new()
            .layer(DrainLayer::new(lifecycle))
            .service(events(false))
    })
    .await;
    let mut client = Raw::connect(server.addr).await;
    let peer = client.stream().local_addr().unwrap();
    client.send(get("/events?token=secret")).await;
    client.stream().readable().await.unwrap();
    tokio::time::sleep(ms(100)).await;
    server.handle.drain_now();
    client.mark();
    let ending = client.read_until_close().await;
    let report = server.report().await;
    assert_eq!(ending.how, How::Reset, "a cut stream does not look whole");
    assert!(
        ending.at >= ms(350) && ending.at < ms(1_200),
        "{:?}",
        ending.at
    );
    let [cut] = report.cut.as_slice() else {
        panic!("one was cut: {report}");
    };
    assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/events"));
    assert_eq!(cut.peer, Some(peer));
    assert!(cut.age >= ms(480) && cut.age < ms(2_000), "{cut}");
    assert_eq!(cut.state, "sending the response");
    assert!(!report.is_clean() && !report.at_once);
    assert!(
        report.drain >= ms(390) && report.drain < ms(1_000),
        "{report}"
    );
    let text = report.to_string();
    assert!(
        text.contains("1 request was CUT:") && text.contains("GET /events, "),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn stream_that_awaits_the_drain_ends_itself() {
    for lame_duck in [ms(300), Duration::ZERO] {
        let server = Knowing::start(lame_duck, ms(5_000), |lifecycle| {
            ServiceBuilder::new()
                .layer(DrainLayer::new(lifecycle))
                .service(events(true))
        })
        .await;
        let mut client = Raw::connect(server.addr).await;
        client.send(get("/events")).await;
        client.stream().readable().await.unwrap();
        client.mark();
        server.handle.shutdown();
        let answer = client.read_response().await;
        assert!(client.elapsed() < ms(250), "{:?}", client.elapsed());
        assert!(
            answer.complete && answer.text().ends_with("data: bye\n\n"),
            "{answer:?}"
        );
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(300), "{report}");
    }
}

#[tokio::test]
async fn hanging_handler_is_cut_reported_and_dropped() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let came = Arc::new(Semaphore::new(0));
    let come = came.clone();
    let app = app(move |_| {
        let held = OnDrop(count.clone());
        come.add_permits(1);
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let mut server = Setup::new().drain(ms(200)).start(app).await;
    let mut client = server.connect().await;
    client.send("PUT /hangs HTTP/1.1\r\nhost: a\r\n\r\n").await;
    came.acquire().await.unwrap().forget();
    let report = server.drain().await;
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Reset, 0));
    assert_eq!(report.cut.len(), 1);
    assert_eq!(
        (report.cut[0].method.as_str(), report.cut[0].path.as_str()),
        ("PUT", "/hangs")
    );
    assert_eq!(report.cut[0].state, "in the handler");
    assert_eq!(dropped.load(Relaxed), 1, "the handler is cancelled");
    assert!(report.drain < ms(290), "it fell at once: {report}");
    let reported = server.reported();
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("cut after ") && line.contains(" PUT /hangs (")),
        "{reported:?}"
    );
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("connection closed") && line.ends_with(": cut")),
        "{reported:?}"
    );
}

// === answers in a drain ===

#[tokio::test]
async fn lame_duck_closes_a_growing_share_of_answers() {
    // The window is long beside the pauses of a busy machine; it is in memory, with many answers in each part.
    const WINDOW: Duration = ms(4_000);
    let setup = Setup::new().lame_duck(WINDOW);
    let mut server = setup.start_in_memory(hello()).await;
    let mut calm = server.connect().await;
    for _ in 0..50 {
        assert!(!calm.ask(GET).await.closes(), "before the signal");
    }
    drop(calm);
    server.handle.shutdown();
    let lifecycle = server.handle.lifecycle();
    lifecycle.reached(Phase::LameDuck).await;
    let began = lifecycle.entered(Phase::LameDuck).expect("the lame duck");
    let door = server.door();
    let clients = (0..4).map(|_| door.clone()).map(|door| async move {
        let mut answers = Vec::new();
        let mut client = Raw::on(door.connect());
        while began.elapsed() < WINDOW.mul_f64(0.93) {
            let asked = began.elapsed();
            let answer = client.ask(GET).await;
            assert_eq!(answer.status, 200, "at {asked:?}");
            answers.push((asked, began.elapsed(), answer.closes()));
            if answer.closes() {
                let ending = client.read_until_close().await;
                assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
                client = Raw::on(door.connect());
            }
            tokio::time::sleep(ms(1)).await;
        }
        answers
    });
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.unwrap());
    }
    // Counts answers requested after `from` and received before `to`, as parts of the window.
    let share = |from: f64, to: f64| {
        let within: Vec<_> = answers
            .iter()
            .filter(|(asked, answered, _)| {
                *asked >= WINDOW.mul_f64(from) && *answered <= WINDOW.mul_f64(to)
            })
            .collect();
        assert!(within.len() >= 20, "too few answers from {from} to {to}");
        let closes = within.iter().filter(|(_, _, closes)| *closes).count();
        closes as f64 / within.len() as f64
    };
    let shares = [
        share(0.0, 0.1),
        share(0.3, 0.45),
        share(0.6, 0.74),
        share(0.77, 1.0),
    ];
    assert!(shares[0] < 0.25, "{shares:?}");
    assert!(shares[1] > 0.3 && shares[1] < 0.7, "{shares:?}");
    assert!(shares[2] > 0.7, "{shares:?}");
    assert_eq!(shares[3], 1.0, "{shares:?}");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.lame_duck >= WINDOW, "{report}");
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

// === listeners and services of every kind ===

#[tokio::test]
async fn connections_over_the_limit_wait_and_are_served_in_turn() {
    let limits = Limits::default().max_connections(2);
    let server = Setup::new().limits(limits).start(hello()).await;
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    assert_eq!(one.ask(GET).await.status, 200);
    assert_eq!(two.ask(GET).await.status, 200);
    let mut three = server.connect().await;
    three.send(GET).await;
    let early = three.read_until_close_for(ms(150)).await;
    assert_eq!((early.how, early.bytes.len()), (How::StillOpen, 0));
    assert_eq!(server.open(), 2);
    drop(one);
    assert_eq!(three.read_response().await.status, 200);
    drop(two);
    drop(three);
    server.finish().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_answered_when_the_drain_begins() {
    let gate = Gate::new();
    let limits = Limits::default().max_connections(1);
    let mut server = Setup::new().limits(limits).start(gate.app()).await;
    let mut one = server.connect().await;
    one.send(get("/slow")).await;
    gate.came().await;
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut client = server.connect().await;
        client.send(GET).await;
        others.push(client);
    }
    server.handle.drain_now();
    for client in &mut others {
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.closes()), (200, true));
    }
    gate.let_one_go();
    assert_eq!(one.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn unix_listener_is_served_and_drained() {
    let path = std::env::temp_dir().join(format!("lameduck-drain-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let gate = Gate::new();
    let serve = lameduck::serve(listener, gate.app()).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut busy = UnixStream::connect(&path).await.unwrap();
    busy.write_all(get("/slow").as_bytes()).await.unwrap();
    gate.came().await;
    // Nothing is awaited from here to the drain: these wait in the queue.
    let queued: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(get("/queued").as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            UnixStream::from_std(stream).unwrap()
        })
        .collect();
    handle.drain_now();
    let answered = async {
        for mut stream in queued {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(answers(&bytes)[0].text(), "/queued");
        }
        gate.let_one_go();
        let mut bytes = Vec::new();
        busy.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(answers(&bytes)[0].text(), "/slow");
        report.await.unwrap()
    };
    let report = within(crate::support::LIMIT, "the report", answered).await;
    std::fs::remove_file(&path).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (6, 6));
}

#[tokio::test]
async fn service_fn_is_served_and_its_error_is_a_500() {
    let service = tower::service_fn(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/fails" => Err("it failed"),
            _ => Ok(Response::new(Full::<Bytes>::from("hello"))),
        }
    });
    let server = Setup::new().start(service).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.text(), "hello");
    assert_eq!(client.ask(get("/fails")).await.status, 500);
    drop(client);
    assert!(
        server
            .reported()
            .iter()
            .any(|line| line.starts_with("the service failed: it failed GET /fails (")),
        "{:?}",
        server.reported()
    );
    server.finish().await;
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn router_is_served_with_connect_info() {
    use axum::extract::ConnectInfo;
    use axum::routing::get as on_get;
    use lameduck::ConnInfo;

    let app = axum::Router::new()
        .route(
            "/",
            on_get(
                |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: axum::extract::Request| async move {
                    let info = request.extensions().get::<ConnInfo>().copied().unwrap();
                    assert_eq!(info.peer, Some(peer));
                    format!("{peer} {}", info.local.unwrap())
                },
            ),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let serve = lameduck::serve(listener, app).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut client = Raw::connect(addr).await;
    let peer = client.stream().local_addr().unwrap();
    assert_eq!(client.ask(GET).await.text(), format!("{peer} {addr}"));
    handle.drain_now();
    let report = within(crate::support::LIMIT, "the report", report).await;
    assert!(report.unwrap().is_clean());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn request_without_extensions_has_no_connect_info() {
    use axum::extract::ConnectInfo;

    for with in [true, false] {
        let app = app(|request| async move {
            let mut extensions = request.into_parts().0.extensions;
            let found = extensions.remove::<ConnectInfo<SocketAddr>>().is_some();
            reply(200, format!("{found}, others {}", !extensions.is_empty()))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::for_tests();
        let handle = shutdown.handle();
        let mut serve = lameduck::serve(listener, app).shutdown(shutdown);
        if !with {
            serve = serve.without_extensions();
        }
        let report = tokio::spawn(serve.into_future());
        let mut client = Raw::connect(addr).await;
        assert_eq!(
            client.ask(GET).await.text(),
            format!("{with}, others {with}")
        );
        handle.drain_now();
        let report = within(crate::support::LIMIT, "the report", report).await;
        assert!(report.unwrap().unwrap().is_clean());
    }
}

#[tokio::test]
async fn single_connection_of_an_own_accept_loop_is_served() {
    use lameduck::events::{CloseReason, TimeoutKind};
    use lameduck::serve_connection_with_timeouts;

    let service = || {
        tower::service_fn(|request: Request<RequestBody>| async move {
            let path = request.uri().path().to_owned();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(path)))
        })
    };
    let timeouts = Timeouts::none().idle(ms(200));
    // The connection is kept alive, and ends when it is idle for too long.
    let (mut client, io) = tokio::io::duplex(256);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/1", "/2"] {
        client.write_all(get(path).as_bytes()).await.unwrap();
        let mut bytes = vec![0; 256];
        let read = within(crate::support::LIMIT, "an answer", client.read(&mut bytes)).await;
        bytes.truncate(read.unwrap());
        assert!(bytes.ends_with(path.as_bytes()), "{bytes:?}");
    }
    let mut rest = Vec::new();
    let ended = async {
        client.read_to_end(&mut rest).await.unwrap();
        connection.await.unwrap()
    };
    let why = within(crate::support::LIMIT, "its idle end", ended).await;
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::Idle));
    assert!(rest.is_empty());

    // A leaving client ends the connection.
    let (client, io) = tokio::io::duplex(256);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    drop(client);
    assert_eq!(
        within(crate::support::LIMIT, "its end", connection).await,
        CloseReason::Ended
    );

    // HTTP/2 works with prior knowledge, and dropping the future ends the connection.
    let (client, io) = tokio::io::duplex(64 * 1024);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    let connection = tokio::spawn(connection);
    let talk = async {
        let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://a/h2").body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "/h2");
        (sender, connection)
    };
    let (sender, other_end) = within(crate::support::LIMIT, "an answer", talk).await;
    connection.abort();
    let ended = within(crate::support::LIMIT, "its end", other_end).await;
    drop((ended, sender));

    // An invalid timeout is an error.
    let (_, io) = tokio::io::duplex(256);
    let zero = serve_connection_with_timeouts(io, service(), timeouts.write(Duration::ZERO));
    assert_eq!(zero.unwrap_err().name(), "write");
}
