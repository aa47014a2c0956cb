//! Clients that are gone end their requests; clients that have only shut their sending side are answered.

mod in_memory;
mod real_clients;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use lameduck::Limits;
use lameduck::serve::{HalfClose, RequestBody};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::{App, Body, Raw, Server, Setup, app, ms, reply, within};

/// The duration of handlers that no client waits for; a test that waited for one would fail.
const LONG: Duration = Duration::from_secs(60);
/// The time within which a gone client must be noticed, with a margin for a busy machine.
const SOON: Duration = Duration::from_secs(4);

/// A step of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Begin,
    /// The handler was dropped before its answer was complete.
    Dropped,
    End,
}

struct Running(mpsc::UnboundedSender<Did>, bool);

impl Running {
    fn end(mut self) {
        self.1 = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let did = if self.1 { Did::End } else { Did::Dropped };
        self.0.send(did).ok();
    }
}

/// Builds a service that answers by path: `/slow?MILLISECONDS`, where `read` reads the request's body first, `keep`
/// keeps it unread, `body` polls it only at the end; `/stream?MILLISECONDS` sends a piece at once and one then;
/// `/sized` sends half of its declared length.
fn service() -> (App, mpsc::UnboundedReceiver<Did>) {
    let (sender, did) = mpsc::unbounded_channel();
    let app = app(move |request: Request<RequestBody>| {
        let running = (request.uri().path() != "/good").then(|| {
            sender.send(Did::Begin).ok();
            Running(sender.clone(), false)
        });
        async move {
            let Some(running) = running else {
                return reply(200, "good");
            };
            let path = request.uri().path().to_owned();
            let wait = request.uri().query().and_then(|text| text.parse().ok());
            let wait = wait.map_or(LONG, ms);
            let mut body = Some(request.into_body());
            if path == "/read" {
                if let Some(body) = body.take() {
                    body.collect().await.ok();
                }
            }
            if path == "/drop" {
                body = None;
            }
            if path == "/stream" || path == "/sized" {
                return streamed(&path, wait, running);
            }
            tokio::time::sleep(wait).await;
            let mut text = "late".to_owned();
            if path == "/body" {
                let read = body.take().expect("it is there").collect().await;
                text = read.map_or_else(
                    |error| error.to_string(),
                    |read| String::from_utf8_lossy(&read.to_bytes()).into_owned(),
                );
            }
            drop(body);
            running.end();
            reply(200, text)
        }
    });
    (app, did)
}

/// Returns a body with a piece at once and another one after a pause.
struct Pieces {
    sent: usize,
    pause: Pin<Box<tokio::time::Sleep>>,
    running: Option<Running>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.sent += 1;
        match self.sent {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from("first,"))))),
            2 => {
                if self.pause.as_mut().poll(cx).is_pending() {
                    self.sent = 1;
                    return Poll::Pending;
                }
                self.running.take().expect("once").end();
                Poll::Ready(Some(Ok(Frame::data(Bytes::from("second")))))
            }
            _ => Poll::Ready(None),
        }
    }
}

fn streamed(path: &str, wait: Duration, running: Running) -> Response<Body> {
    let pieces = Pieces {
        sent: 0,
        pause: Box::pin(tokio::time::sleep(wait)),
        running: Some(running),
    };
    let mut response = Response::new(pieces.boxed_unsync());
    if path == "/sized" {
        response.headers_mut().insert("content-length", 12.into());
    }
    response
}

async fn next(did: &mut mpsc::UnboundedReceiver<Did>) -> Did {
    within(SOON, "word from the handler", did.recv())
        .await
        .expect("a word")
}

const HOST: &str = "host: a\r\n";

/// Named requests whose client may leave before the answer.
fn requests(path: &str) -> Vec<(&'static str, String)> {
    let get = format!("GET {path} HTTP/1.1\r\n{HOST}\r\n");
    vec![
        ("GET", get.clone()),
        ("an empty line before", format!("\r\n{get}")),
        (
            "close",
            format!("GET {path} HTTP/1.1\r\n{HOST}connection: close\r\n\r\n"),
        ),
        ("HTTP/1.0", format!("GET {path} HTTP/1.0\r\n{HOST}\r\n")),
        (
            "HTTP/1.0, kept",
            format!("GET {path} HTTP/1.0\r\n{HOST}connection: keep-alive\r\n\r\n"),
        ),
        ("HEAD", format!("HEAD {path} HTTP/1.1\r\n{HOST}\r\n")),
        (
            "POST",
            format!("POST {path} HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhello"),
        ),
        (
            "chunks",
            format!(
                "POST {path} HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ),
        ),
        (
            "upgrade",
            format!("GET {path} HTTP/1.1\r\n{HOST}connection: upgrade\r\nupgrade: echo\r\n\r\n"),
        ),
        ("a request behind it", get.repeat(2)),
        ("half a head behind it", format!("{get}GET /another HTT")),
    ]
}

/// Requests that are incomplete when their client leaves, or arrive in pieces.
fn halves(path: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "half a body",
            format!("POST {path} HTTP/1.1\r\n{HOST}content-length: 50\r\n\r\nhello"),
        ),
        (
            "half a chunk",
            format!("POST {path} HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n9\r\nhello"),
        ),
        (
            "a head in two pieces",
            format!("GET {path} HTT|P/1.1\r\n{HOST}\r\n"),
        ),
        (
            "a body in two pieces",
            format!("POST {path} HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhel|lo"),
        ),
        (
            "100-continue",
            format!(
                "POST {path} HTTP/1.1\r\n{HOST}content-length: 5\r\nexpect: 100-continue\r\n\r\n"
            ),
        ),
    ]
}

/// hyper drops a body once the declared length is written.
#[tokio::test]
async fn complete_response_is_not_counted_as_client_gone() {
    let (app, mut did) = service();
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let answer = client
            .ask(format!("GET /sized?20 HTTP/1.1\r\n{HOST}\r\n"))
            .await;
        assert_eq!(
            (answer.text(), answer.closes()),
            ("first,second".to_owned(), false)
        );
        assert_eq!(next(&mut did).await, Did::Begin);
        assert_eq!(next(&mut did).await, Did::End);
    }
    drop(client);
    server.until_open(0).await;
    assert!(!server.reported().iter().any(|line| line.contains("gone")));
    server.finish().await;
}

/// The ways in which a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Reset,
    Close,
}

async fn leave(client: Raw, how: Leave) {
    let stream = client.into_stream();
    if how == Leave::Reset {
        stream.set_zero_linger().unwrap();
    }
    drop(stream);
}

/// Asserts that the handler is dropped when its client leaves after sending `request`.
async fn is_dropped(limits: Limits, what: &str, request: &str, how: Leave) {
    let (app, mut did) = service();
    let server = Setup::new().limits(limits).start(app).await;
    let mut client = server.connect().await;
    for piece in request.split('|') {
        client.send(piece).await;
        tokio::time::sleep(ms(20)).await;
    }
    assert_eq!(next(&mut did).await, Did::Begin, "{what}");
    leave(client, how).await;
    let left = Instant::now();
    let dropped = tokio::time::timeout(SOON, did.recv()).await;
    assert_eq!(dropped, Ok(Some(Did::Dropped)), "{what}, {how:?}");
    let took = left.elapsed();
    assert!(took < SOON, "{what}, {how:?}: {took:?}");
    server.until_open(0).await;
    let reported = server.reported();
    let gone: Vec<_> = reported
        .iter()
        .filter(|line| line.contains("gone"))
        .collect();
    assert_eq!(gone.len(), 2, "{what}, {how:?}: {reported:?}");
    assert!(gone[0].starts_with("client gone after"), "{gone:?}");
    assert!(gone[0].contains(" /"), "it names the request: {gone:?}");
    assert!(gone[1].ends_with("client_gone"), "{gone:?}");
    server.finish().await;
}

#[tokio::test]
async fn reset_ends_the_handler() {
    for path in ["/slow", "/read", "/keep", "/drop"] {
        for (what, request) in requests(path).into_iter().chain(halves(path)) {
            is_dropped(
                Limits::default(),
                &format!("{path}, {what}"),
                &request,
                Leave::Reset,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn close_ends_the_handler() {
    for path in ["/slow", "/read", "/keep", "/drop"] {
        for (what, request) in requests(path).into_iter().chain(halves(path)) {
            is_dropped(
                Limits::default(),
                &format!("{path}, {what}"),
                &request,
                Leave::Close,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn client_gone_ends_a_silent_response() {
    let get = |path: &str, version: &str| format!("GET {path} HTTP/{version}\r\n{HOST}\r\n");
    for (request, how) in [
        (get("/stream", "1.1"), Leave::Reset),
        (get("/stream", "1.1"), Leave::Close),
        (get("/stream", "1.1").repeat(2), Leave::Close),
        (get("/stream", "1.0"), Leave::Reset),
        (get("/sized", "1.1"), Leave::Reset),
    ] {
        let (app, mut did) = service();
        let server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client.send(&request).await;
        assert_eq!(next(&mut did).await, Did::Begin);
        let mut head = [0; 32];
        client.stream().read_exact(&mut head).await.unwrap();
        leave(client, how).await;
        assert_eq!(next(&mut did).await, Did::Dropped, "{request:?}, {how:?}");
        server.until_open(0).await;
        server.finish().await;
    }
}

#[tokio::test]
async fn half_close_does_not_end_a_response() {
    let (app, mut did) = service();
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client
        .send(format!("GET /stream?700 HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    assert_eq!(next(&mut did).await, Did::Begin);
    client.finish_sending().await;
    let answer = client.read_response().await;
    assert_eq!(answer.text(), "first,second");
    assert_eq!(next(&mut did).await, Did::End);
    drop(client);
    server.until_open(0).await;
    assert!(!server.reported().iter().any(|line| line.contains("gone")));
    server.finish().await;
}

/// Returns what the server sends to a client that sends `request`, in the end without the date. `half_close`: once the
/// handler runs, or together with the request.
async fn answered(server: &Server, request: &str, half_close: Option<Duration>) -> String {
    let mut client = server.connect().await;
    client.send(request).await;
    if let Some(after) = half_close {
        tokio::time::sleep(after).await;
        client.finish_sending().await;
    }
    let ending = match half_close {
        Some(_) => client.read_until_close().await,
        None => client.read_until_close_for(ms(1200)).await,
    };
    let lines: Vec<_> = ending.text().split("\r\n").map(str::to_owned).collect();
    lines
        .into_iter()
        .filter(|line| !line.starts_with("date:"))
        .collect::<Vec<_>>()
        .join("\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_client_gets_the_usual_answer() {
    let (app, _did) = service();
    let server = Setup::new().start(app).await;
    let mut cases = Vec::new();
    // The client half-closes before the probe, between its two parts, and after it.
    for path in [
        "/slow?20",
        "/read?140",
        "/keep?250",
        "/drop?400",
        "/stream?50",
        "/stream?300",
    ] {
        for (what, request) in requests(path) {
            if what.starts_with("half") {
                continue;
            }
            for after in [Duration::ZERO, ms(15)] {
                let (server, request) = (&server, request.clone());
                cases.push(async move {
                    let plain = answered(server, &request, None).await;
                    let half = answered(server, &request, Some(after)).await;
                    // A chunk's size may have leading zeros.
                    let half = half
                        .replace("\r\n006\r\n", "\r\n6\r\n")
                        .replace("\r\n06\r\n", "\r\n6\r\n");
                    assert_eq!(half, plain, "{path}, {what}");
                    assert!(plain.starts_with("HTTP/1."), "{path}, {what}: {plain:?}");
                });
            }
        }
    }
    futures(cases).await;
    assert!(!server.reported().iter().any(|line| line.contains("gone")));
    server.finish().await;
}

/// Runs all of them at once.
async fn futures(all: Vec<impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).map(Some).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut all {
            if slot
                .as_mut()
                .is_some_and(|one| one.as_mut().poll(cx).is_ready())
            {
                *slot = None;
            }
        }
        match all.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

#[tokio::test]
async fn probe_and_100_continue_do_not_mix() {
    let (app, _did) = service();
    let server = Setup::new().start(app).await;
    for wait in [20, 130, 300] {
        let mut client = server.connect().await;
        let head = format!(
            "POST /body?{wait} HTTP/1.1\r\n{HOST}content-length: 5\r\nexpect: 100-continue\r\n\r\n"
        );
        client.send(head).await;
        client.finish_sending().await;
        let ending = client.read_until_close().await;
        let answers = ending.answers();
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [100, 200], "{:?}", ending.text());
        assert_eq!(answers[1].text(), "the request body broke off");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_half_closing_clients_are_answered() {
    let (app, mut did) = service();
    let server = Setup::new().start(app).await;
    let clients = 2_000;
    let mut all = Vec::new();
    for _ in 0..clients {
        let mut client = server.connect().await;
        client
            .send(format!("GET /slow?400 HTTP/1.1\r\n{HOST}\r\n"))
            .await;
        client.finish_sending().await;
        all.push(client);
    }
    for mut client in all {
        let answer = client.read_until_close().await.answer();
        assert_eq!((answer.status, answer.text()), (200, "late".to_owned()));
    }
    let mut ends = 0;
    for _ in 0..2 * clients {
        match next(&mut did).await {
            Did::Begin => {}
            Did::End => ends += 1,
            Did::Dropped => panic!("a handler was dropped"),
        }
    }
    assert_eq!(ends, clients);
    server.until_open(0).await;
    server.finish().await;
}

#[tokio::test]
async fn probe_does_not_disturb_a_kept_connection() {
    let (app, _did) = service();
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    for wait in [0, 150, 10, 300] {
        let answer = client
            .ask(format!("GET /slow?{wait} HTTP/1.1\r\n{HOST}\r\n"))
            .await;
        assert_eq!((answer.status, answer.closes()), (200, false));
    }
    // The requests are pipelined, and the last one half-closes.
    let request = format!("GET /slow?60 HTTP/1.1\r\n{HOST}\r\n");
    client.send(request.repeat(200)).await;
    client.finish_sending().await;
    let ending = client.read_until_close_for(Duration::from_secs(40)).await;
    assert_eq!(ending.answers().len(), 200);
    server.finish().await;
}

#[tokio::test]
async fn drain_does_not_wait_for_gone_clients() {
    for how in [Leave::Reset, Leave::Close] {
        let (app, mut did) = service();
        let mut server = Setup::new().drain(Duration::from_secs(20)).start(app).await;
        let mut clients = Vec::new();
        for path in ["/slow", "/keep", "/stream"] {
            let mut client = server.connect().await;
            client
                .send(format!(
                    "POST {path} HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhello"
                ))
                .await;
            clients.push(client);
            assert_eq!(next(&mut did).await, Did::Begin);
        }
        for client in clients {
            leave(client, how).await;
        }
        let report = server.drain().await;
        assert!(report.is_clean(), "{how:?}: {report}");
        assert!(report.drain < SOON, "{how:?}: {report}");
    }
}

#[tokio::test]
async fn half_close_policy_decides_between_answer_and_close() {
    let request = format!("GET /slow?400 HTTP/1.1\r\n{HOST}\r\n");
    let answer = Limits::default().half_close(HalfClose::Answer);
    let (app, mut did) = service();
    let server = Setup::new().limits(answer).start(app).await;
    let mut client = server.connect().await;
    client.send(&request).await;
    client.finish_sending().await;
    // No byte precedes the answer.
    let mut first = [0; 64];
    let read = client.stream().read(&mut first).await.unwrap();
    assert!(first[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(next(&mut did).await, Did::Begin);
    assert_eq!(next(&mut did).await, Did::End);
    // A handler whose client has closed runs on.
    let mut client = server.connect().await;
    client.send(&request).await;
    assert_eq!(next(&mut did).await, Did::Begin);
    leave(client, Leave::Close).await;
    assert_eq!(next(&mut did).await, Did::End);
    server.until_open(0).await;
    server.finish().await;
    is_dropped(
        answer,
        "a reset",
        &format!("GET /slow HTTP/1.1\r\n{HOST}\r\n"),
        Leave::Reset,
    )
    .await;

    let cancel = Limits::default().half_close(HalfClose::Cancel);
    for (what, request) in requests("/keep") {
        is_dropped(cancel, what, &request, Leave::Close).await;
    }
}
