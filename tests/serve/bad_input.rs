//! Bad input gets a clear error or the right status, and leaves nothing behind: after every case the server answers a
//! good request, no connection is left, and the drain has nothing to wait for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::RequestBody;
use lameduck::shutdown::Budgets;
use lameduck::{Limits, Shutdown, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::wire::PREFACE;
use crate::support::*;

/// Bytes that must never be read as a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
/// The most that the server discards of an unread body to reuse the connection.
const DISCARD: usize = 256 * 1024;

/// A server whose handlers record what reaches them.
struct Bed {
    server: Server,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Bed {
    async fn new(setup: Setup) -> Bed {
        let seen = Seen::default();
        let server = setup.start(seen.app()).await;
        Bed { server, seen }
    }

    /// Starts the server in memory, for a paused clock.
    async fn in_memory(timeouts: Timeouts) -> Bed {
        let seen = Seen::default();
        let setup = Setup::new().timeouts(timeouts);
        let server = setup.start_in_memory(seen.app()).await;
        Bed { server, seen }
    }

    async fn with(timeouts: Timeouts) -> Bed {
        Bed::new(Setup::new().timeouts(timeouts)).await
    }

    async fn connect(&self) -> Raw {
        self.server.connect().await
    }

    /// Sends `bytes` on a new connection and returns how it ended, even if not all was accepted.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> Ending {
        let mut client = self.connect().await;
        let _ = client.try_send(bytes).await;
        client.read_until_close().await
    }

    /// The requests that reached the handlers.
    fn seen(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().clone()
    }

    async fn finish(self) {
        let Bed { server, seen } = self;
        server.finish().await;
        let seen = seen.0.lock().unwrap().clone();
        assert!(
            !seen.iter().any(|seen| seen.contains("smuggled")),
            "{seen:?}"
        );
        assert_eq!(seen.last().map(String::as_str), Some("GET /good"));
    }
}

impl Seen {
    fn app(&self) -> App {
        let seen = self.clone();
        app(move |request| seen.clone().answer(request))
    }

    async fn answer(self, request: Request<RequestBody>) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let what = format!("{} {}", head.method, head.uri.path());
        self.0.lock().unwrap().push(what);
        match head.uri.path() {
            "/refuse" => reply(413, "no"),
            "/none" => reply(204, ""),
            "/half" => {
                let mut length = 0;
                while length < 100 {
                    match body.frame().await {
                        Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                        _ => break,
                    }
                }
                reply(413, "enough")
            }
            "/read" => {
                let mut length = 0;
                loop {
                    match body.frame().await {
                        None => return reply(200, format!("n={length}")),
                        Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                        Some(Err(error)) => return reply(200, format!("n={length}: {error}")),
                    }
                }
            }
            "/hold" => {
                tokio::spawn(async move {
                    tokio::time::sleep(ms(150)).await;
                    drop(body);
                });
                reply(200, "held")
            }
            "/elsewhere" => {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    drop(body);
                });
                reply(200, "ok")
            }
            "/sleep" => {
                tokio::time::sleep(ms(3000)).await;
                drop(body);
                reply(200, "slept")
            }
            "/close" => {
                tokio::time::sleep(ms(100)).await;
                let mut response = reply(200, "closes");
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
                response
            }
            "/panic" => {
                let _ = body.frame().await;
                panic!("as the test wants");
            }
            _ => reply(200, "ok"),
        }
    }
}

fn post(path: &str, length: usize, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

fn chunked(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

/// Returns `length` bytes of pipelined requests.
fn requests(length: usize) -> Vec<u8> {
    SMUGGLED.bytes().cycle().take(length).collect()
}

/// Asserts one answer with this status and `Connection: close`, and then the end.
#[track_caller]
fn assert_refused(ending: &Ending, status: u16, what: &str) {
    let text = ending.text();
    assert_eq!(ending.how, How::Fin, "{what}: {text:?}");
    let answer = ending.answer();
    assert_eq!(answer.status, status, "{what}: {text:?}");
    assert!(answer.closes(), "{what}: {text:?}");
}

#[track_caller]
fn assert_time(at: Duration, meant: Duration) {
    let early = meant.saturating_sub(ms(30));
    let late = meant + ms(400);
    assert!(
        early <= at && at <= late,
        "at {at:?}, where {meant:?} is meant"
    );
}

// === heads ===

#[tokio::test]
async fn malformed_request_line_gets_400() {
    let bed = Bed::with(Timeouts::default()).await;
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5b\x90\x9d\x9b\x72\x0b\xbc".to_vec();
    let cases: &[(&str, Vec<u8>)] = &[
        ("TLS", tls),
        ("zeros", vec![0; 64]),
        ("high bytes", vec![0xff; 64]),
        ("words", "hello there\r\n\r\n".into()),
        (
            "a PROXY header",
            format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{NEXT}").into(),
        ),
        ("HTTP/0.9", "GET /\r\n\r\n".into()),
        (
            "no such version",
            "GET / HTTP/3.0\r\nhost: a\r\n\r\n".into(),
        ),
        ("almost a preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".into()),
        ("a space first", format!(" {NEXT}").into()),
        ("no path", "GET  HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (
            "a space in the path",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        ),
        ("no method", "G{T / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n".into(),
        ),
        (
            "a folded header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n".into(),
        ),
        ("no colon", "GET / HTTP/1.1\r\nhost a\r\n\r\n".into()),
        (
            "a NUL in a value",
            "GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n".into(),
        ),
        (
            "a bare CR",
            "GET / HTTP/1.1\r\nhost: a\rx: b\r\n\r\n".into(),
        ),
    ];
    for (what, bytes) in cases {
        let ending = bed.send(bytes).await;
        assert_refused(&ending, 400, what);
        assert_time(ending.at, Duration::ZERO);
        // A connection with a good request before it ends the same way.
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        client.send(bytes).await;
        assert_refused(&client.read_until_close().await, 400, what);
    }
    assert!(bed.seen().iter().all(|seen| seen == "GET /next"));
    bed.finish().await;
}

#[tokio::test]
async fn oversized_head_gets_431() {
    let limits = Limits::default().max_header_bytes(2048);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let long = "a".repeat(4096);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    assert_refused(&bed.send(head).await, 431, "one long header");

    let many = "x-many: some bytes\r\n".repeat(90 * 2);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    assert_refused(&bed.send(head).await, 431, "many headers");

    let head = format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_refused(&bed.send(head).await, 414, "a long path");

    // A head that never ends, from a client that does not read before it has sent 5 MB.
    let endless = format!("GET / HTTP/1.1\r\nx-endless: {}", "a".repeat(5_000_000));
    assert_refused(&bed.send(endless).await, 431, "an endless header");

    // Heads up to the limit are served.
    let fits = "a".repeat(1900);
    let mut client = bed.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {fits}\r\n\r\n");
    assert_eq!(client.ask(head).await.status, 200);
    drop(client);
    assert_eq!(bed.seen().len(), 1);
    bed.finish().await;
}

#[tokio::test]
async fn head_limit_defaults_to_64_kib() {
    let bed = Bed::with(Timeouts::default()).await;
    let head = |length| {
        let long = "a".repeat(length);
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n")
    };
    assert_refused(&bed.send(head(64 * 1024)).await, 431, "over 64 KiB");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(63 * 1024)).await.status, 200);
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn too_many_headers_get_431() {
    let head = |count: usize| {
        let headers = "x: y\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
    };
    let bed = Bed::with(Timeouts::default()).await;
    assert_refused(&bed.send(head(101)).await, 431, "101, by default");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(100)).await.status, 200);
    drop(client);
    bed.finish().await;

    let limits = Limits::default().max_headers(10);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    assert_refused(&bed.send(head(11)).await, 431, "11 of 10");
    let mut client = bed.connect().await;
    assert_eq!(client.ask(head(10)).await.status, 200);
    drop(client);
    bed.finish().await;
}

/// RFC 9112, 2.2: a recipient may take a single LF for the end of a line; in a head nothing is
/// ambiguous about it. In the framing of a body it may not (see below).
#[tokio::test]
async fn bare_line_feeds_end_head_lines() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert_eq!(client.ask("GET /a HTTP/1.1\nhost: a\n\n").await.status, 200);
    assert_eq!(client.ask("GET /b HTTP/1.1\nhost: a\n\n").await.status, 200);
    drop(client);
    assert_eq!(bed.seen(), ["GET /a", "GET /b"]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn trickling_heads_are_ended_and_delay_no_one() {
    let bed = Bed::in_memory(Timeouts::none().read_header(ms(500))).await;
    let mut trickles = tokio::task::JoinSet::new();
    for client in 0..40 {
        let mut slow = bed.connect().await;
        trickles.spawn(async move {
            // Half of the clients send a request first; their deadline begins with the next one.
            if client % 2 == 0 {
                assert_eq!(slow.ask(NEXT).await.status, 200);
                slow.mark();
            }
            slow.drip(NEXT, ms(50)).await
        });
    }
    let mut good = bed.connect().await;
    assert_eq!(good.ask(NEXT).await.status, 200);
    while let Some(ending) = trickles.join_next().await {
        let ending = ending.expect("no panic");
        assert_refused(&ending, 408, "a trickle");
        assert_time(ending.at, ms(500));
        good.mark();
        assert_eq!(good.ask(NEXT).await.status, 200);
        assert!(good.elapsed() < ms(400));
    }
    drop(good);
    bed.finish().await;
}

/// Asserts that the connection ended without an answer. A byte that crosses the close turns it into a reset.
#[track_caller]
fn assert_silent(ending: &Ending) {
    assert_ne!(ending.how, How::StillOpen);
    assert_eq!(ending.text(), "");
}

#[tokio::test]
async fn empty_lines_do_not_extend_deadlines() {
    let bed = Bed::with(Timeouts::none().read_header(ms(300)).idle(ms(700))).await;
    // No request ever follows.
    let fresh = async {
        let mut client = bed.connect().await;
        let ending = client.drip("\r\n".repeat(20), ms(50)).await;
        assert_silent(&ending);
        assert_time(ending.at, ms(300));
    };
    // The lines follow a request; the connection is parked meanwhile.
    let idle = async {
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        client.mark();
        let ending = client.drip("\r\n".repeat(20), ms(50)).await;
        assert_silent(&ending);
        assert_time(ending.at, ms(700));
    };
    // Empty lines before a request do no harm.
    let good = async {
        let mut client = bed.connect().await;
        for _ in 0..3 {
            client.send("\r\n\r\n").await;
            tokio::time::sleep(ms(50)).await;
            assert_eq!(client.ask(format!("\r\n{NEXT}")).await.status, 200);
        }
        client.mark();
        client.sleep_until(ms(450)).await;
        client.send("\r\n").await;
        assert_eq!(client.ask(NEXT).await.status, 200);
    };
    tokio::join!(fresh, idle, good);
    bed.finish().await;
}

// === the length of a body ===

#[tokio::test]
async fn invalid_content_length_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    for length in [
        "-1",
        "+5",
        "0x5",
        "1e3",
        "five",
        "5 5",
        "5,6",
        "",
        "99999999999999999999999",
    ] {
        let request =
            format!("POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}");
        assert_refused(&bed.send(request).await, 400, length);
    }
    // The length is larger than hyper's own integers.
    let request = format!(
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
        u64::MAX
    );
    let ending = bed.send(request).await;
    let answer = ending.answer();
    assert!(matches!(answer.status, 400 | 413 | 431), "{answer:?}");
    assert!(answer.closes() && ending.how == How::Fin);
    let twice = format!(
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 36\r\n\r\n{SMUGGLED}"
    );
    assert_refused(&bed.send(twice).await, 400, "two lengths");
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

#[tokio::test]
async fn absurd_content_length_is_not_waited_for() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let absurd = usize::try_from(i64::MAX).unwrap();
    // The body is unread: the answer comes at once, and the connection closes.
    let ending = bed.send(post("/refuse", absurd, SMUGGLED)).await;
    assert_refused(&ending, 413, "unread");
    assert_time(ending.at, Duration::ZERO);
    // The body is read: the wait lasts until the deadline.
    let ending = bed.send(post("/read", absurd, SMUGGLED)).await;
    assert_refused(&ending, 200, "read");
    assert!(
        ending
            .answer()
            .text()
            .starts_with(&format!("n={}: ", SMUGGLED.len()))
    );
    assert_time(ending.at, ms(300));
    bed.finish().await;
}

/// RFC 9112, 6.1: a server may use the chunks alone, and must close after the answer, so that a proxy that used the
/// length cannot be made to read one request as two.
#[tokio::test]
async fn chunks_override_a_length_and_the_connection_closes() {
    let bed = Bed::with(Timeouts::default()).await;
    let length = "content-length: 4\r\n";
    let chunks = "transfer-encoding: chunked\r\n";
    let mut asked = 0;
    for [first, second] in [[length, chunks], [chunks, length]] {
        for (body, seen) in [("0\r\n\r\n", 0), ("9\r\nabcdefghi\r\n0\r\n\r\n", 9)] {
            let request =
                format!("POST /read HTTP/1.1\r\nhost: a\r\n{first}{second}\r\n{body}{SMUGGLED}");
            let ending = bed.send(&request).await;
            assert_refused(&ending, 200, &request);
            assert_eq!(ending.answer().text(), format!("n={seen}"), "{request:?}");
            // An unread body has the same result.
            let ending = bed.send(request.replace("/read", "/ignore")).await;
            assert_refused(&ending, 200, &request);
            asked += 2;
        }
    }
    assert_eq!(bed.seen().len(), asked, "{:?}", bed.seen());
    bed.finish().await;
}

#[tokio::test]
async fn transfer_coding_not_ending_in_chunked_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    for coding in [
        "gzip",
        "identity",
        "xchunked",
        "chunked, gzip",
        "chunkedx",
        "\"chunked\"",
    ] {
        let request = format!(
            "POST /read HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n{SMUGGLED}"
        );
        assert_refused(&bed.send(request).await, 400, coding);
    }
    let old = format!(
        "POST /read HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let ending = bed.send(old).await;
    assert_eq!((ending.how, ending.answer().status), (How::Fin, 400));
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    let extension = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "x".repeat(100_000));
    let cases = [
        ("no size", "ZZ\r\nabcde\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nabcde\r\n0\r\n\r\n"),
        (
            "a size too large to count",
            "FFFFFFFFFFFFFFFFFF\r\nabcde\r\n0\r\n\r\n",
        ),
        ("a bare LF after the size", "5\nabcde\r\n0\r\n\r\n"),
        ("no end of the chunk", "5\r\nabcdefgh\r\n0\r\n\r\n"),
        ("a bare LF after the chunk", "5\r\nabcde\n0\r\n\r\n"),
        ("an endless extension", &extension),
    ];
    for (what, body) in cases {
        let body = format!("{body}{SMUGGLED}");
        // The body is read: the handler sees the error, and its answer is sent.
        let ending = bed.send(chunked("/read", &body)).await;
        assert_refused(&ending, 200, what);
        assert!(ending.answer().text().contains("broke off"), "{what}");
        // The body is unread: the error occurs while it is discarded.
        let ending = bed.send(chunked("/ignore", &body)).await;
        assert_refused(&ending, 200, what);
    }
    bed.finish().await;
}

// === bytes that are no request ===

#[tokio::test]
async fn bytes_after_an_oversized_body_are_no_request() {
    let bed = Bed::with(Timeouts::default()).await;
    let more = requests(10_000);
    let body = [requests(1_000_000), more.clone()].concat();
    // The end of a chunked body is not known.
    let chunk = [b"8000\r\n", &requests(0x8000)[..], b"\r\n"].concat();
    let chunks = [chunk.repeat(20), b"0\r\n\r\n".to_vec(), more].concat();
    for path in ["/refuse", "/half"] {
        let ending = bed.send(post(path, 1_000_000, &body)).await;
        assert_refused(&ending, 413, path);
        let ending = bed.send(chunked(path, &chunks)).await;
        assert_refused(&ending, 413, path);
    }
    // The body is dropped after the answer, which therefore could not announce the close.
    for request in [post("/hold", 1_000_000, &body), chunked("/hold", &chunks)] {
        let ending = bed.send(request).await;
        assert_eq!((ending.how, ending.answer().status), (How::Fin, 200));
        assert_time(ending.at, ms(150));
    }
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_a_timed_out_body_are_no_request() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let late = requests(50_000);
    // The handler reads the body: it gets the error, and its answer is sent.
    let read = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/read", 50_000, "abc")).await;
        assert_eq!(
            answer.text(),
            "n=3: the request body did not arrive in time"
        );
        assert!(answer.closes());
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
        assert_ne!(ending.how, How::StillOpen);
    };
    // The server discards the body: the answer has been sent already.
    let discarded = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/ignore", 50_000, "abc")).await;
        assert_eq!(answer.status, 200);
        let ending = client.read_until_close().await;
        assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
        assert_time(ending.at, ms(300));
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
    };
    // A task holds the body and does not read it.
    let held = async {
        let mut client = bed.connect().await;
        assert_eq!(client.ask(post("/hold", 50_000, "abc")).await.status, 200);
        let ending = client.read_until_close().await;
        assert_ne!(ending.how, How::StillOpen);
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
    };
    tokio::join!(read, discarded, held);
    bed.finish().await;
}

/// The status blames the client, which did not send, and not the service.
#[tokio::test]
async fn service_error_caused_by_a_late_body_gets_408() {
    let good = Seen::default();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let good = good.clone();
        async move {
            match request.uri().path() {
                "/good" => Ok(good.answer(request).await),
                _ => match request.into_body().collect().await {
                    Ok(_) => Err("it always fails".to_owned()),
                    Err(error) => Err(error.to_string()),
                },
            }
        }
    });
    let timeouts = Timeouts::none().read(ms(300));
    let server = Server::start(timeouts, service).await;
    let mut client = server.connect().await;
    client.send(post("/fail", 10, "abc")).await;
    let ending = client.read_until_close().await;
    assert_refused(&ending, 408, "half a body");
    assert_time(ending.at, ms(300));
    let mut client = server.connect().await;
    assert_eq!(client.ask(post("/fail", 3, "abc")).await.status, 500);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn handler_that_ignores_its_late_body_gets_408() {
    let bed = Bed::with(Timeouts::none().read(ms(200)).write(ms(500))).await;
    let ending = bed.send(post("/sleep", 10, "abc")).await;
    assert_refused(&ending, 408, "half a body");
    assert_time(ending.at, ms(500));
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_a_cancelled_handler_are_no_request() {
    let bed = Bed::with(Timeouts::none().write(ms(300))).await;
    let whole = async {
        let mut request = post("/sleep", 1000, requests(1000));
        request.extend_from_slice(SMUGGLED.as_bytes());
        let ending = bed.send(request).await;
        assert_refused(&ending, 503, "a whole body");
        assert_time(ending.at, ms(300));
    };
    let half = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/sleep", 1000, "abc")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.closes());
        let _ = client.try_send(requests(10_000)).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
        assert_ne!(ending.how, How::StillOpen);
    };
    tokio::join!(whole, half);
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_the_last_answer_are_no_request() {
    let bed = Bed::with(Timeouts::default()).await;
    let ending = bed
        .send(format!(
            "GET /ignore HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{SMUGGLED}"
        ))
        .await;
    assert_refused(&ending, 200, "the client's close");
    let ending = bed
        .send(format!("GET /ignore HTTP/1.0\r\nhost: a\r\n\r\n{SMUGGLED}"))
        .await;
    assert_eq!((ending.how, ending.answer().status), (How::Fin, 200));
    let ending = bed
        .send(format!("GET /close HTTP/1.1\r\nhost: a\r\n\r\n{SMUGGLED}"))
        .await;
    assert_refused(&ending, 200, "the handler's close");
    bed.finish().await;
}

/// A pipelining client goes on sending during its last answer; that must not turn the close into a reset.
#[tokio::test]
async fn pipelining_client_reads_the_last_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    client.send("GET /close HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for round in 0..12 {
        client.sleep_until(ms(50) * round + ms(30)).await;
        client.send(SMUGGLED).await;
    }
    let ending = client.read_until_close().await;
    assert_refused(&ending, 200, "the handler's close");
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn panic_halfway_through_a_body_ends_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    let ending = bed.send(post("/panic", 1000, requests(500))).await;
    assert_ne!(ending.how, How::StillOpen);
    assert!(ending.answers().iter().all(|answer| answer.status == 500));
    bed.finish().await;
}

// === bodies that nobody reads ===

#[tokio::test]
async fn small_unread_body_is_discarded_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    let mut asked = 0;
    for path in ["/ignore", "/refuse", "/none", "/half"] {
        for length in [1, SMUGGLED.len(), 1000, 65_536, DISCARD] {
            // The rest arrives at once, or while the answer is being sent or is read already.
            let body = requests(length);
            let whole = post(path, length, &body);
            let head = whole.len() - length;
            for cut in [whole.len(), head, head + length / 2] {
                client.send(&whole[..cut]).await;
                // A handler that waits for 100 bytes gets them before it answers.
                let early = cut < whole.len() && (path != "/half" || cut - head >= 100);
                if early {
                    let answer = client.read_response().await;
                    assert!(!answer.closes(), "{path} {length} {cut}: {answer:?}");
                    client.send(&whole[cut..]).await;
                } else {
                    client.send(&whole[cut..]).await;
                    let answer = client.read_response().await;
                    assert!(!answer.closes(), "{path} {length} {cut}: {answer:?}");
                }
                let next = client.ask(NEXT).await;
                assert_eq!(next.status, 200, "after {path} {length} {cut}");
                asked += 2;
            }
        }
    }
    drop(client);
    assert_eq!(bed.seen().len(), asked);
    bed.finish().await;
}

/// The end of a discarded body and the next head arrive in one segment: discarding stops at the end of its own body,
/// and the next request has its own body, unread or late.
#[tokio::test]
async fn request_behind_a_discarded_body_keeps_its_own_body() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let mut client = bed.connect().await;
    let length = SMUGGLED.len();
    client.send(post("/ignore", length, "")).await;
    for round in 0..5 {
        assert_eq!(client.read_response().await.text(), "ok", "{round}");
        let behind = [SMUGGLED.as_bytes(), &post("/refuse", length, "")].concat();
        let answer = client.ask(behind).await;
        assert_eq!(answer.text(), "no", "{round}");
        assert!(!answer.closes(), "{round}: {answer:?}");
        let behind = [SMUGGLED.as_bytes(), &post("/ignore", length, "")].concat();
        client.send(behind).await;
    }
    assert_eq!(client.read_response().await.text(), "ok");
    // The read deadline of the request behind it is its own, too.
    let behind = [SMUGGLED.as_bytes(), &post("/read", length, "abc")].concat();
    client.mark();
    client.send(behind).await;
    let ending = client.read_until_close().await;
    assert_refused(&ending, 200, "a late body behind a discarded one");
    assert!(ending.answer().text().starts_with("n=3: "), "{ending:?}");
    assert_time(ending.at, ms(300));
    drop(client);
    bed.finish().await;
}

/// Whatever the handlers do with their bodies, and however requests are split: each answer belongs to its request, and
/// no body is read as a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_pieces_are_answered_in_order() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut clients = tokio::task::JoinSet::new();
    for seed in 1..=100 {
        let addr = bed.server.addr;
        clients.spawn(async move { in_pieces(Raw::connect(addr).await, Dice(seed)).await });
    }
    let (mut answered, mut closed) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (count, early) = client.expect("no panic");
        answered += count;
        closed += usize::from(early);
    }
    // These are requests whose unread chunks had not all arrived when the answer was sent.
    assert!(closed < 100 && answered > 1000, "{answered} {closed}");
    assert_eq!(bed.seen().len(), answered);
    bed.finish().await;
}

/// SplitMix64: the same pieces in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }
}

/// Returns how many requests were answered, and whether the server closed before the last one.
async fn in_pieces(mut client: Raw, mut dice: Dice) -> (usize, bool) {
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..30 {
        let length = dice.below(300);
        let path = ["/ignore", "/read", "/refuse", "/half", "/elsewhere"][dice.below(5)];
        // Unread chunks may close the connection; most bodies have a length.
        let by_chunks = path == "/read" && dice.below(2) == 0 || dice.below(20) == 0;
        if by_chunks && length > 0 {
            wire.extend(chunked(path, format!("{length:x}\r\n")));
            wire.extend(requests(length));
            wire.extend(b"\r\n0\r\n\r\n");
        } else {
            wire.extend(post(path, length, requests(length)));
        }
        expected.push(match path {
            "/read" => format!("n={length}"),
            "/refuse" => "no".to_owned(),
            "/half" => "enough".to_owned(),
            _ => "ok".to_owned(),
        });
    }
    let (mut reader, mut writer) = client.stream().split();
    let write = async {
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(1 + dice.below(400)));
            rest = more;
            if writer.write_all(piece).await.is_err() {
                return;
            }
            if dice.below(3) == 0 {
                tokio::time::sleep(ms(1)).await;
            }
        }
        // The server sends the rest and closes.
        let _ = writer.shutdown().await;
    };
    let mut said = Vec::new();
    let read = reader.read_to_end(&mut said);
    let (_, read) = within(LIMIT, "all answers", async { tokio::join!(write, read) }).await;
    read.expect("no reset");
    let answers = answers(&said);
    for (answer, expected) in answers.iter().zip(&expected) {
        assert_eq!(&answer.text(), expected, "{answers:?}");
    }
    let last = answers.last().expect("an answer");
    let early = answers.len() < expected.len();
    assert!(answers.len() <= expected.len(), "{answers:?}");
    assert!(!early || last.closes(), "{answers:?}");
    (answers.len(), early)
}

#[tokio::test]
async fn small_unread_chunks_are_discarded_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    let chunks = [b"48\r\n", &requests(0x48)[..], b"\r\n"].concat();
    let chunks = [&chunks.repeat(10)[..], b"0\r\n\r\n"].concat();
    for path in ["/ignore", "/refuse", "/none"] {
        let answer = client.ask(chunked(path, &chunks)).await;
        assert!(!answer.closes(), "{path}: {answer:?}");
        assert_eq!(client.ask(NEXT).await.status, 200);
        // The next request is in the same segment.
        let both = [&chunked(path, &chunks)[..], NEXT.as_bytes()].concat();
        let answer = client.ask(both).await;
        assert!(!answer.closes(), "{path}: {answer:?}");
        assert_eq!(client.read_response().await.text(), "ok");
    }
    drop(client);
    assert_eq!(bed.seen().len(), 12);
    bed.finish().await;
}

#[tokio::test]
async fn get_may_have_a_body() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    for method in ["GET", "DELETE", "OPTIONS"] {
        let length = SMUGGLED.len();
        let request = format!(
            "{method} /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}{NEXT}"
        );
        assert_eq!(client.ask(request).await.text(), "ok");
        assert_eq!(client.read_response().await.text(), "ok");
    }
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn large_unread_body_closes_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    for length in [DISCARD + 1, 5_000_000] {
        let ending = bed.send(post("/refuse", length, requests(length))).await;
        assert_refused(&ending, 413, "all of it sent");
        let ending = bed.send(post("/refuse", length, "")).await;
        assert_refused(&ending, 413, "none of it sent");
        assert_time(ending.at, Duration::ZERO);
    }
    bed.finish().await;

    let limits = Limits::default().discard(10);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let ending = bed.send(post("/refuse", 11, "abc")).await;
    assert_refused(&ending, 413, "a limit of 10");
    let mut client = bed.connect().await;
    assert!(!client.ask(post("/refuse", 10, "0123456789")).await.closes());
    assert_eq!(client.ask(NEXT).await.status, 200);
    drop(client);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_client_reads_its_early_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let body = Bytes::from(requests(5_000_000));
    let (mut read, mut clients) = (0, tokio::task::JoinSet::new());
    for client in 0..100 {
        let (addr, body) = (bed.server.addr, body.clone());
        clients.spawn(async move {
            let mut client_io = Raw::connect(addr).await;
            // Bodies have a length or chunks; some clients read while they send, as a browser does not.
            let path = if client % 4 < 2 { "/refuse" } else { "/half" };
            match client % 2 {
                0 => client_io.send(post(path, body.len(), "")).await,
                _ => {
                    client_io
                        .send(chunked(path, format!("{:x}\r\n", body.len())))
                        .await
                }
            }
            client_io.send(&body).await;
            client_io.read_until_close().await
        });
        // Ten at a time.
        if clients.len() == 10 {
            let ending = clients.join_next().await.unwrap().expect("no panic");
            assert_refused(&ending, 413, "5 MB");
            read += 1;
        }
    }
    while let Some(ending) = clients.join_next().await {
        assert_refused(&ending.expect("no panic"), 413, "5 MB");
        read += 1;
    }
    assert_eq!(read, 100);
    bed.finish().await;
}

/// A phone's upload takes longer than half a second; the server reads it as long as it keeps arriving.
#[tokio::test]
async fn slow_sending_client_reads_its_early_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let slow = async |head: Vec<u8>| {
        let mut client = bed.connect().await;
        client.send(head).await;
        for piece in 1..=14 {
            client.sleep_until(ms(100) * piece).await;
            client.send(requests(10_000)).await;
        }
        let ending = client.read_until_close().await;
        assert_refused(&ending, 413, "a slow upload");
    };
    tokio::join!(
        slow(post("/refuse", 5_000_000, "")),
        slow(chunked("/refuse", "4c4b40\r\n")),
        slow(post("/half", 5_000_000, requests(100))),
    );
    bed.finish().await;
}

#[tokio::test]
async fn lingering_for_a_silent_client_is_bounded() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert!(client.ask(post("/refuse", 5_000_000, "abc")).await.closes());
    client.mark();
    // The client stays, and neither sends nor closes.
    bed.server.until_open(0).await;
    assert!(client.elapsed() < ms(1400), "{:?}", client.elapsed());
    drop(client);
    bed.finish().await;
}

#[tokio::test]
async fn expect_continue_body_is_not_waited_for_after_a_refusal() {
    let bed = Bed::with(Timeouts::default()).await;
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    // The final answer comes without a 100. Whether the client then sends the body is unknown, so the connection closes
    // however small the body is.
    for length in [5, 5_000_000] {
        let ending = bed.send(head("/refuse", length)).await;
        assert_refused(&ending, 413, "unread");
        assert_time(ending.at, Duration::ZERO);
    }
    // A client sends the body nevertheless.
    let body = requests(5_000_000);
    let mut request = head("/refuse", body.len()).into_bytes();
    request.extend_from_slice(&body);
    assert_refused(&bed.send(request).await, 413, "sent nevertheless");
    let mut request = head("/refuse", 5).into_bytes();
    request.extend_from_slice(b"abcde");
    request.extend_from_slice(SMUGGLED.as_bytes());
    assert_refused(&bed.send(request).await, 413, "sent nevertheless, and more");
    bed.finish().await;
}

// === HTTP/2 ===

fn settings() -> Vec<u8> {
    Frame::new(kind::SETTINGS, 0, 0, []).bytes()
}

#[tokio::test]
async fn h2_garbage_after_the_preface_gets_goaway() {
    let bed = Bed::with(Timeouts::default()).await;
    let cases = [
        ("bytes", vec![0xff; 100]),
        ("zeros", vec![0; 100]),
        ("HTTP/1", SMUGGLED.as_bytes().to_vec()),
        (
            "settings on a stream",
            Frame::new(kind::SETTINGS, 0, 1, []).bytes(),
        ),
        (
            "half a setting",
            Frame::new(kind::SETTINGS, 0, 0, [0; 5]).bytes(),
        ),
    ];
    for (what, garbage) in cases {
        let ending = bed.send([PREFACE, &garbage].concat()).await;
        assert_ne!(ending.how, How::StillOpen, "{what}");
        assert_time(ending.at, Duration::ZERO);
        assert_goaway(&ending, what);
    }
    let cases = [
        ("data on no stream", Frame::new(kind::DATA, 0, 1, [0; 5])),
        (
            "headers on stream 0",
            Frame::new(kind::HEADERS, 5, 0, [0x82]),
        ),
        (
            "headers that are none",
            Frame::new(kind::HEADERS, 5, 1, [0xff; 20]),
        ),
        ("a short ping", Frame::new(kind::PING, 0, 0, [0; 3])),
    ];
    for (what, frame) in cases {
        let ending = bed
            .send([PREFACE, &settings(), &frame.bytes()].concat())
            .await;
        assert_ne!(ending.how, How::StillOpen, "{what}");
        assert_time(ending.at, Duration::ZERO);
        assert_goaway(&ending, what);
    }
    assert!(bed.seen().is_empty());
    bed.finish().await;
}

/// Asserts a GOAWAY that names an error.
#[track_caller]
fn assert_goaway(ending: &Ending, what: &str) {
    let frames = frames(&ending.bytes);
    let codes: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == kind::GOAWAY)
        .filter_map(Frame::code)
        .collect();
    assert!(codes.iter().any(|code| *code != 0), "{what}: {frames:?}");
}

#[tokio::test]
async fn h2_half_a_preface_has_the_header_deadline() {
    let bed = Bed::with(Timeouts::none().read_header(ms(400))).await;
    let at_once = async {
        let ending = bed.send(&PREFACE[..20]).await;
        // The bytes could still be either protocol's; the refusal is in HTTP/1.
        assert_refused(&ending, 408, "half a preface");
        assert_time(ending.at, ms(400));
    };
    let drip = async {
        let mut client = bed.connect().await;
        let ending = client.drip(PREFACE, ms(50)).await;
        assert_refused(&ending, 408, "a preface that trickles");
        assert_time(ending.at, ms(400));
    };
    let never = async {
        let ending = bed.send("").await;
        assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
        assert_time(ending.at, ms(400));
    };
    tokio::join!(at_once, drip, never);
    bed.finish().await;
}

#[tokio::test]
async fn h2_silence_after_the_preface_ends_the_connection() {
    let bed = Bed::with(Timeouts::none().idle(ms(300))).await;
    let silent = async |bytes: Vec<u8>| {
        let ending = bed.send(&bytes).await;
        assert_ne!(ending.how, How::StillOpen);
        // The idle deadline passes, and a second for an acknowledgement that does not come.
        assert!(ending.at <= ms(1300 + 400), "{:?}", ending.at);
    };
    tokio::join!(
        silent(PREFACE.to_vec()),
        silent([PREFACE, &settings()].concat()),
        silent([PREFACE, &settings()[..4]].concat()),
    );
    bed.finish().await;
}

#[tokio::test]
async fn h2_preface_after_http1_is_refused() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    assert_eq!(client.ask(NEXT).await.status, 200);
    client.mark();
    client.send([PREFACE, &settings()].concat()).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert_time(ending.at, Duration::ZERO);
    assert!(ending.answers().iter().all(|answer| answer.status >= 400));
    bed.finish().await;
}

async fn h2_status(answer: ResponseFuture) -> u16 {
    let answer = within(LIMIT, "an answer", answer).await;
    answer.expect("an answer").status().as_u16()
}

/// Asserts that the connection answers one more request, and ends without an error.
async fn h2_still_good(
    mut sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
) {
    let request = Request::get("http://a/next").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    assert_eq!(h2_status(answer).await, 200);
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn h2_oversized_headers_get_431() {
    let limits = Limits::default().max_header_bytes(2048);
    let bed = Bed::new(Setup::new().limits(limits)).await;
    let (mut sender, connection, _) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/long")
        .header("x-long", "a".repeat(4000))
        .body(())
        .unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    assert_eq!(h2_status(answer).await, 431);
    h2_still_good(sender, connection).await;
    assert_eq!(bed.seen(), ["GET /next"]);
    bed.finish().await;
}

#[tokio::test]
async fn h2_unread_body_is_stopped_and_the_connection_reused() {
    let bed = Bed::with(Timeouts::default()).await;
    let (mut sender, connection, heard) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    for (path, stream) in [("/refuse", 1), ("/half", 3), ("/refuse", 5)] {
        let request = Request::post(format!("http://a{path}")).body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        // The body exceeds the windows: it is sent as the server takes it.
        body.send_data(Bytes::from(requests(5_000_000)), false)
            .unwrap();
        let answer = within(LIMIT, "an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), 413);
        let text = within(LIMIT, "its body", answer.into_body().data()).await;
        assert!(text.is_some_and(|text| text.is_ok()));
        let (_, reset) = heard.until(kind::RST_STREAM, stream).await;
        assert_eq!(reset.code(), Some(0), "asked to stop, without an error");
    }
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
    assert_eq!(bed.seen().len(), 3);
    bed.finish().await;
}

#[tokio::test]
async fn h2_body_with_a_wrong_length_ends_only_its_stream() {
    let bed = Bed::with(Timeouts::default()).await;
    let (mut sender, connection, heard) = h2_connect(bed.server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a/read")
        .header("content-length", "5")
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let answer = within(LIMIT, "an answer", answer).await;
    let (_, reset) = heard.until(kind::RST_STREAM, 1).await;
    assert_ne!(reset.code(), Some(0), "{answer:?}");
    drop((answer, body));
    h2_still_good(sender, connection).await;
    bed.finish().await;
}

// === invalid settings ===

/// Returns the error of a server that does not start.
async fn refusal(timeouts: Timeouts, limits: Limits, shutdown: Shutdown) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = lameduck::serve(listener, app(|_| async { reply(200, "ok") }))
        .timeouts(timeouts)
        .limits(limits)
        .shutdown(shutdown.signals(false));
    let refused = within(ms(500), "a refusal to start", async { serve.await }).await;
    refused.expect_err("it must not start").to_string()
}

#[tokio::test]
async fn invalid_timeouts_are_refused() {
    type Set = fn(Duration) -> Timeouts;
    let set: [(&str, Set); 6] = [
        ("read_header", |wait| Timeouts::default().read_header(wait)),
        ("read", |wait| Timeouts::default().read(wait)),
        ("write", |wait| Timeouts::default().write(wait)),
        ("idle", |wait| Timeouts::default().idle(wait)),
        ("read_stall", |wait| Timeouts::default().read_stall(wait)),
        ("write_stall", |wait| Timeouts::default().write_stall(wait)),
    ];
    for (name, set) in set {
        let zero = refusal(set(Duration::ZERO), Limits::default(), Shutdown::new()).await;
        let expected = format!(
            "the timeout `{name}` is zero, which would refuse every client; `None` switches it off"
        );
        assert_eq!(zero, expected);
        for absurd in [Duration::MAX, Duration::from_secs(8 * 24 * 3600)] {
            let text = refusal(set(absurd), Limits::default(), Shutdown::new()).await;
            assert!(
                text.starts_with(&format!("the timeout `{name}` is ")),
                "{text}"
            );
            assert!(
                text.ends_with("longer than a week; `None` switches it off"),
                "{text}"
            );
        }
        let (_client, io) = tokio::io::duplex(64);
        let app = app(|_| async { reply(200, "ok") });
        let error = lameduck::serve_connection_with_timeouts(io, app, set(Duration::ZERO));
        let error = error.expect_err("it must not start");
        assert_eq!((error.name(), error.to_string()), (name, expected));
    }
}

#[tokio::test]
async fn invalid_limits_are_refused() {
    let default = Limits::default;
    let cases = [
        (
            default().max_connections(0),
            "`max_connections`: 0 would refuse every connection",
        ),
        (
            default().max_connections(usize::MAX),
            "`max_connections`: is more than can be counted; `None` is no limit",
        ),
        (
            default().max_header_bytes(0),
            "`max_header_bytes`: below 256 bytes no request fits",
        ),
        (
            default().max_header_bytes(usize::MAX),
            "`max_header_bytes`: over 64 MiB is no limit",
        ),
        (
            default().max_headers(0),
            "`max_headers`: 0 would refuse every request that names its host",
        ),
        (
            default().max_headers(usize::MAX),
            "`max_headers`: a header map holds at most 32768",
        ),
        (
            default().max_concurrent_streams(0),
            "`max_concurrent_streams`: 0 would refuse every HTTP/2 request",
        ),
        (
            default().ping_interval(Duration::ZERO),
            "`ping_interval`: zero would do nothing but ping; `None` switches it off",
        ),
        (
            default().ping_timeout(Duration::ZERO),
            "`ping_timeout`: zero would close every HTTP/2 connection",
        ),
    ];
    for (limits, expected) in cases {
        let text = refusal(Timeouts::default(), limits, Shutdown::new()).await;
        assert_eq!(text, format!("the limit {expected}"));
    }
}

/// Durations that overflow any clock are refused, or mean for ever, but never panic.
#[tokio::test]
async fn extreme_durations_do_not_panic() {
    for limits in [
        Limits::default().ping_interval(Duration::MAX),
        Limits::default().ping_timeout(Duration::MAX),
        Limits::default().drain_window(Duration::MAX),
        Limits::default().discard(u64::MAX),
        Limits::default().max_concurrent_streams(u32::MAX),
        Limits::default().max_headers(32_768),
    ] {
        if let Err(error) = limits.check() {
            let name = error.name();
            assert!(error.to_string().contains(name), "{error}");
            continue;
        }
        let bed = Bed::new(Setup::new().limits(limits)).await;
        let (sender, connection, _) = h2_connect(bed.server.addr).await;
        h2_still_good(sender, tokio::spawn(connection)).await;
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        drop(client);
        bed.finish().await;
    }
}

#[tokio::test]
async fn budgets_over_the_grace_are_refused() {
    let secs = Duration::from_secs;
    let refusal = async |shutdown| refusal(Timeouts::default(), Limits::default(), shutdown).await;

    let text = refusal(Shutdown::new().termination_grace(secs(20))).await;
    assert_eq!(
        text,
        "the shutdown needs 26s (lame_duck 5s + drain 15s + workers 5s + closers 0s + margin 1s) \
         but the termination grace is 20s: raise the grace (ECS stopTimeout, Kubernetes \
         terminationGracePeriodSeconds) to 26s, or lower drain to 9s"
    );

    let text = refusal(Shutdown::new().termination_grace(Duration::ZERO)).await;
    assert!(text.contains("raise the grace"), "{text}");

    let shutdown = Shutdown::new().closer("pool", secs(60), || async {});
    let text = refusal(shutdown).await;
    assert!(
        text.contains("needs 86s") && text.contains("closers 60s"),
        "{text}"
    );

    // The durations overflow when added.
    let shutdown = Shutdown::new()
        .drain(Duration::MAX)
        .lame_duck(Duration::MAX)
        .termination_grace(Duration::MAX);
    let text = refusal(shutdown).await;
    assert!(
        text.contains("lame_duck") && text.contains("drain"),
        "{text}"
    );
}

/// A server configured by the advice starts.
#[tokio::test]
async fn advice_about_budgets_works() {
    let secs = Duration::from_secs;
    let check = |drain, grace| {
        let budgets = Budgets {
            drain,
            ..Budgets::default()
        };
        budgets.check(Duration::ZERO, grace)
    };
    for drain in [secs(20), secs(40), secs(1 << 40), Duration::MAX] {
        let text = check(drain, secs(30)).unwrap_err().to_string();
        assert!(text.ends_with("or lower drain to 19s"), "{text}");
    }
    assert!(check(secs(19), secs(30)).is_ok());
    // A grace as absurd gets no advice.
    for drain in [secs(1 << 40), Duration::MAX] {
        let text = check(drain, Duration::MAX).unwrap_err().to_string();
        assert!(text.contains(&format!("drain {drain:?}")), "{text}");
        assert!(
            text.ends_with("longer than a week: a mistake of units"),
            "{text}"
        );
    }
}

/// A drain longer than any clock can count is an error or endless, but never a panic.
#[tokio::test]
async fn extreme_budget_is_refused_or_served() {
    let long = Duration::from_secs(u64::MAX / 8);
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(long)
        .workers(long)
        .termination_grace(Duration::MAX);
    let handle = shutdown.handle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = app(|_| async { reply(200, "ok") });
    let serve = lameduck::serve(listener, app).shutdown(shutdown);
    let serving = tokio::spawn(async move { serve.await });
    handle.drain_now();
    let ended = within(LIMIT, "the end", serving).await.expect("no panic");
    match ended {
        Ok(report) => assert!(report.is_clean(), "{report}"),
        Err(error) => assert!(error.to_string().contains("drain"), "{error}"),
    }
}

/// RFC 9112, 3.2: no `Host`, or two of them, gets 400, and the service is not called.
#[tokio::test]
async fn request_needs_exactly_one_host() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\nhost: \r\n\r\n", "200 "),
        ("GET / HTTP/1.0\r\n\r\n", "200 "),
    ] {
        let called = Arc::new(AtomicUsize::new(0));
        let count = called.clone();
        let app = axum::Router::new().fallback(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { "hello" }
        });
        let (mut client, io) = tokio::io::duplex(1024);
        let connection =
            lameduck::serve_connection_with_timeouts(io, app, lameduck::Timeouts::default())
                .unwrap();
        tokio::spawn(connection);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        client.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(status), "{request:?}: {answer}");
        let served = usize::from(status == "200 ");
        assert_eq!(called.load(Ordering::Relaxed), served, "{request:?}");
    }
}
