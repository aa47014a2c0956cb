//! Deadlines hold whatever the handler, the client or the runtime does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::{RequestBody, serve_connection_with_timeouts};
use lameduck::{MinRate, Phase, Timeouts};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, RwLock};

use crate::support::{
    App, How, LIMIT, Raw, Server, Setup, app, full, h2_connect, ms, reply, within,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Connects a client whose bytes are in the socket before the server reads.
fn sent_at_once(addr: SocketAddr, bytes: &[u8]) -> Raw {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.write_all(bytes).unwrap();
    std::thread::sleep(ms(20));
    stream.set_nonblocking(true).unwrap();
    Raw::over(tokio::net::TcpStream::from_std(stream).unwrap())
}

// === the cooperative budget ===

/// Spends the task's budget on uncontended locks, as a handler may.
async fn spend_the_budget(lock: &RwLock<()>) {
    for _ in 0..200 {
        drop(lock.read().await);
    }
}

/// Builds a service that has spent its task's budget and then waits for ever.
fn spends_and_hangs() -> App {
    let lock = Arc::new(RwLock::new(()));
    app(move |_| {
        let lock = lock.clone();
        async move {
            spend_the_budget(&lock).await;
            std::future::pending::<()>().await;
            reply(200, "never")
        }
    })
}

/// Builds a service that reads its body, spends its task's budget at every piece, and then waits for more.
fn spends_while_it_reads() -> App {
    let lock = Arc::new(RwLock::new(()));
    app(move |request: Request<RequestBody>| {
        let lock = lock.clone();
        async move {
            let mut body = request.into_body();
            while let Some(piece) = body.frame().await {
                if piece.is_err() {
                    return reply(408, "too slow");
                }
                spend_the_budget(&lock).await;
            }
            reply(200, "whole")
        }
    })
}

#[tokio::test]
async fn write_deadline_holds_for_a_handler_that_spends_the_budget() {
    let server = Server::start(Timeouts::none().write(ms(300)), spends_and_hangs()).await;
    let mut client = sent_at_once(server.addr, GET.as_bytes());
    assert_eq!(client.read_until_close().await.answer().status, 503);

    let (mut sender, connection, heard) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    let request = Request::get("http://a/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let _ = within(LIMIT, "the stream's end", answer).await;
    assert!(heard.elapsed() < ms(3_000));
}

#[tokio::test]
async fn write_deadline_holds_behind_a_middleware_that_spends_the_budget() {
    let lock = Arc::new(RwLock::new(()));
    let inner = app(|_| std::future::pending());
    let outer = app(move |request| {
        let (lock, mut inner) = (lock.clone(), inner.clone());
        async move {
            spend_the_budget(&lock).await;
            tower::Service::call(&mut inner, request).await.unwrap()
        }
    });
    let server = Server::start(Timeouts::none().write(ms(300)), outer).await;
    let mut client = sent_at_once(server.addr, GET.as_bytes());
    assert_eq!(client.read_until_close().await.answer().status, 503);
}

#[tokio::test]
async fn read_deadlines_hold_for_a_reader_that_spends_the_budget() {
    for timeouts in [
        Timeouts::none().read(ms(300)),
        Timeouts::none().read_stall(ms(300)),
    ] {
        let server = Server::start(timeouts, spends_while_it_reads()).await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
        let mut client = sent_at_once(server.addr, post.as_bytes());
        assert_eq!(client.read_until_close().await.answer().status, 408);

        let (mut sender, connection, _) = h2_connect(server.addr).await;
        tokio::spawn(connection);
        let request = Request::post("http://a/").body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        let answer = within(LIMIT, "the answer", answer).await.unwrap();
        assert_eq!(answer.status(), 408);
    }
}

/// Builds a service whose handlers end with the error of their body, as axum's extractors do, or with an answer of
/// their own.
fn makes_of_it_what_it_likes() -> axum::Router {
    let own = |status: u16| {
        axum::routing::post(move |body: axum::body::Body| async move {
            let whole = body.collect().await.is_ok();
            let status = if whole { 500 } else { status };
            let status = http::StatusCode::from_u16(status).unwrap();
            (status, [("x-own", "yes")], "own")
        })
    };
    axum::Router::new()
        .route(
            "/bytes",
            axum::routing::post(|whole: Bytes| async { whole }),
        )
        .route("/200", own(200))
        .route("/303", own(303))
        .route("/408", own(408))
        .route("/500", own(500))
}

/// The answer to a slow upload: its path and content type, its status, and whether it is the handler's own.
#[derive(Clone, Copy)]
struct SlowUpload(&'static str, &'static str, u16, bool);

impl SlowUpload {
    fn grpc_status(self) -> Option<&'static str> {
        let SlowUpload(_, kind, _, own) = self;
        (kind == "application/grpc" && !own).then_some("4")
    }

    async fn over_http1(self, addr: SocketAddr) {
        let SlowUpload(path, kind, status, own) = self;
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\n");
        let mut client = Raw::connect(addr).await;
        client
            .send(format!("{head}content-length: 10\r\n\r\nhalf"))
            .await;
        let answer = client.read_until_close().await.answer();
        assert_eq!(answer.status, status, "{path} {kind}");
        assert!(answer.closes(), "{path} {kind}");
        assert_eq!(answer.header("x-own").is_some(), own, "{path} {kind}");
        let grpc = answer.header("grpc-status");
        assert_eq!(grpc, self.grpc_status(), "{path} {kind}");
    }

    async fn over_http2(self, addr: SocketAddr) {
        let SlowUpload(path, kind, status, own) = self;
        let (mut sender, connection, _) = h2_connect(addr).await;
        tokio::spawn(connection);
        let request = Request::post(format!("http://a{path}")).header("content-type", kind);
        let request = request.body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        let answer = within(LIMIT, "the answer", answer).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {kind}");
        let headers = answer.headers();
        assert_eq!(headers.contains_key("x-own"), own, "{path} {kind}");
        let grpc = headers.get("grpc-status").map(|it| it.to_str().unwrap());
        assert_eq!(grpc, self.grpc_status(), "{path} {kind}");
    }
}

#[tokio::test]
async fn slow_upload_gets_408_whatever_the_handler_makes_of_its_error() {
    let cases = [
        SlowUpload("/bytes", "text/plain", 408, false),
        SlowUpload("/200", "text/plain", 200, true),
        SlowUpload("/303", "text/plain", 303, true),
        SlowUpload("/408", "text/plain", 408, true),
        SlowUpload("/500", "text/plain", 408, false),
        SlowUpload("/bytes", "application/grpc", 200, false),
        SlowUpload("/200", "application/grpc", 200, true),
        SlowUpload("/408", "application/grpc", 200, false),
    ];
    let rate = MinRate::new(1000).window(ms(300)).grace(Duration::ZERO);
    for timeouts in [
        Timeouts::none().read(ms(300)),
        Timeouts::none().read_stall(ms(300)),
        Timeouts::none().min_read_rate(rate),
    ] {
        let server = Server::start(timeouts, makes_of_it_what_it_likes()).await;
        let mut uploads = tokio::task::JoinSet::new();
        for case in cases {
            uploads.spawn(case.over_http1(server.addr));
            uploads.spawn(case.over_http2(server.addr));
        }
        uploads.join_all().await;
        let reported = server.reported();
        let refused = reported
            .iter()
            .filter(|line| line.starts_with("refused: body_too_slow POST "));
        let replaced = cases.iter().filter(|SlowUpload(.., own)| !own).count();
        assert_eq!(refused.count(), 2 * replaced, "{reported:#?}");
    }
}

/// The close lingers: more bytes than one poll's budget reads away must not take its deadline.
#[tokio::test]
async fn early_answer_to_a_large_upload_closes_when_the_client_falls_silent() {
    let server = Server::start(Timeouts::none(), app(|_| async { reply(413, "no") })).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..120 {
        let mut client = server.connect().await;
        clients.spawn(async move {
            let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n";
            client.send(head).await;
            let _ = client.try_send(vec![0; 700_000]).await;
            (client.read_until_close().await, client)
        });
    }
    // No client closes its own side.
    let mut silent = Vec::new();
    while let Some(ended) = clients.join_next().await {
        let (ending, client) = ended.unwrap();
        silent.push(client);
        assert_ne!(ending.how, How::StillOpen, "{:?}", ending.text());
        assert_eq!(ending.answer().status, 413);
    }
    server.until_open(0).await;
}

// === the task that polls ===

/// A case of a connection that moves to another task.
struct Moved {
    name: &'static str,
    timeouts: Timeouts,
    sent: &'static [u8],
    /// The time that the first task polls it.
    before: Duration,
}

#[tokio::test]
async fn connection_that_moves_to_another_task_keeps_its_deadlines() {
    let none = Timeouts::none;
    let case = |name, timeouts, sent, before| Moved {
        name,
        timeouts,
        sent,
        before,
    };
    let cases = [
        case("fresh", none().read_header(ms(300)), &b""[..], ms(50)),
        case(
            "half a head",
            none().read_header(ms(300)),
            b"GET / H",
            ms(50),
        ),
        case("idle", none().idle(ms(300)), GET.as_bytes(), ms(50)),
        case(
            "in the handler",
            none().write(ms(300)),
            b"GET /hangs HTTP/1.1\r\nhost: a\r\n\r\n",
            ms(50),
        ),
        case(
            "responding",
            none().write(ms(300)),
            b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n",
            ms(50),
        ),
        case(
            "stalled",
            none().write_stall(ms(300)),
            b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n",
            ms(50),
        ),
        case(
            "reading the body",
            none().read_stall(ms(300)),
            b"POST /reads HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf",
            ms(50),
        ),
        case(
            "discarding",
            none().read(ms(300)),
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf",
            ms(50),
        ),
        case(
            "lingering",
            none(),
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\nhalf",
            ms(50),
        ),
        case("closing", none().read_header(ms(100)), b"GET / H", ms(200)),
        case(
            "HTTP/2",
            none().idle(ms(300)),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            ms(50),
        ),
    ];
    let mut moved = tokio::task::JoinSet::new();
    for case in cases {
        moved.spawn(async move { case.moves().await });
    }
    while let Some(moved) = moved.join_next().await {
        moved.unwrap();
    }
}

impl Moved {
    async fn moves(self) {
        let Moved { name, timeouts, .. } = self;
        let service = app(|request: Request<RequestBody>| async move {
            match request.uri().path() {
                "/hangs" => std::future::pending().await,
                "/large" => Response::new(full(vec![0; 1 << 20])),
                "/reads" => match request.into_body().collect().await {
                    Ok(_) => reply(200, "whole"),
                    Err(_) => reply(408, "too slow"),
                },
                _ => reply(200, "done"),
            }
        });
        let (mut client, io) = tokio::io::duplex(1024);
        client.write_all(self.sent).await.unwrap();
        let connection = serve_connection_with_timeouts(io, service, timeouts).unwrap();
        let mut connection = Box::pin(connection);
        // The first task keeps only the time.
        let until = tokio::time::Instant::now() + self.before;
        while tokio::time::Instant::now() < until {
            let polled = connection
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "{name}");
            tokio::time::sleep(ms(5)).await;
        }
        within(LIMIT, name, tokio::spawn(connection)).await.unwrap();
        drop(client);
    }
}

// === the last look ===

/// Builds a service that holds a thread of the runtime for a while at `/holds`, once it is released.
fn holds_a_thread(gate: Arc<Notify>) -> App {
    app(move |request: Request<RequestBody>| {
        let gate = gate.clone();
        async move {
            if request.uri().path() == "/holds" {
                gate.notified().await;
                std::thread::sleep(ms(400));
            }
            reply(200, "done")
        }
    })
}

/// The drain closes idle connections; a request that arrived while the threads were held is in the socket.
async fn idle_connection_is_read_before_the_drain_closes_it(threads: usize) {
    let gate = Arc::new(Notify::new());
    let server = Setup::new().start(holds_a_thread(gate.clone())).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        assert_eq!(client.ask(GET).await.status, 200);
        idle.push(client.into_stream().into_std().unwrap());
    }
    let mut holding = Vec::new();
    for _ in 0..threads {
        let mut client = server.connect().await;
        client.send("GET /holds HTTP/1.1\r\nhost: a\r\n\r\n").await;
        holding.push(client);
    }
    tokio::time::sleep(ms(100)).await;
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;
    tokio::time::sleep(ms(100)).await;
    let clients = std::thread::spawn(move || {
        use std::io::{Read, Write};
        std::thread::sleep(ms(150));
        for stream in &mut idle {
            stream.write_all(GET.as_bytes()).unwrap();
        }
        let read = |mut stream: std::net::TcpStream| {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).map_err(|error| error.to_string())?;
            Ok::<_, String>(String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        idle.into_iter().map(read).collect::<Vec<_>>()
    });
    gate.notify_waiters();
    for mut client in holding {
        assert_eq!(client.read_response().await.status, 200);
    }
    let answers = tokio::task::spawn_blocking(move || clients.join().unwrap());
    for answer in answers.await.unwrap() {
        assert!(
            answer.as_ref().is_ok_and(|text| text.contains(" 200 ")),
            "a request was in the socket before its connection was closed: {answer:?}"
        );
    }
}

#[tokio::test]
async fn idle_connection_is_read_before_the_drain_closes_it_on_one_thread() {
    idle_connection_is_read_before_the_drain_closes_it(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connection_is_read_before_the_drain_closes_it_on_two_threads() {
    idle_connection_is_read_before_the_drain_closes_it(2).await;
}
