//! The behaviour of Go's net/http in 36 situations, measured over TCP (`tests/data/go_timeouts.json`), and that of
//! lameduck: the same, or the difference that is named.
//!
//! The file gives the expected outcome wherever lameduck matches Go. Natural differences are not compared: dates, the
//! text of a refusal, the words of an error.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use lameduck::serve::RequestBody;
use lameduck::{Lifecycle, Limits, Timeouts};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::*;

const GO: &str = include_str!("../data/go_timeouts.json");
const GET: &str = "GET /ok HTTP/1.1\r\nhost: a\r\n\r\n";

// === what is expected ===

fn case(name: &str) -> Value {
    let go: Value = serde_json::from_str(GO).expect("the table is JSON");
    let case = &go["cases"][name];
    assert!(case.is_object(), "{name} is in the table");
    case.clone()
}

/// Returns the intended difference of lameduck, from the table.
fn ours(name: &str) -> String {
    let go: Value = serde_json::from_str(GO).expect("the table is JSON");
    let ours = go["ours"][name].as_str();
    ours.unwrap_or_else(|| panic!("{name} is among ours"))
        .to_owned()
}

/// Parses an answer of the table, which holds only the beginning of long ones.
fn go_answer(text: &Value) -> Answer {
    let mut text = text.as_str().expect("an answer").to_owned();
    if !text.contains("\r\n\r\n") {
        let whole_lines = text.rfind("\r\n").expect("a line");
        text.truncate(whole_lines);
        text.push_str("\r\n\r\n");
    }
    let (answer, _) = Answer::parse(text.as_bytes(), true).expect("a whole head");
    answer
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().expect("seconds"))
}

/// Asserts that `at` is the expected time: timers are never early, and late on a busy machine.
#[track_caller]
fn assert_time(at: Duration, meant: Duration) {
    let early = meant.saturating_sub(ms(30));
    let late = meant + ms(400);
    assert!(
        early <= at && at <= late,
        "at {at:?}, where {meant:?} is meant"
    );
}

/// Asserts that the connection ended as Go's did, at the same time, after the same bytes.
#[track_caller]
fn assert_as_go(ending: &Ending, go: &Value) {
    let text = ending.text();
    let how = match go["how"].as_str().expect("how it ended") {
        "FIN" => How::Fin,
        "open" => How::StillOpen,
        other => panic!("{other} is not known"),
    };
    assert_eq!(ending.how, how, "{text:?}");
    if !go["at"].is_null() {
        assert_time(ending.at, seconds(&go["at"]));
    }
    if go["data"] == "" {
        assert_eq!(text, "");
    } else {
        let answer = go_answer(&go["data"]);
        assert_eq!(ending.answer().status, answer.status, "{text:?}");
        assert_eq!(ending.answer().closes(), answer.closes(), "{text:?}");
    }
}

/// Asserts the same answer as Go's.
#[track_caller]
fn assert_same(answer: &Answer, go: &Value) {
    let go = go_answer(go);
    assert_eq!(answer.status, go.status);
    assert_eq!(answer.text(), go.text());
    assert_eq!(answer.closes(), go.closes(), "{answer:?}");
}

/// Asserts 408 with `Connection: close` and then the end, at `at`.
#[track_caller]
fn assert_head_too_slow(ending: &Ending, at: Duration) {
    assert_eq!(ending.how, How::Fin, "{:?}", ending.text());
    assert_time(ending.at, at);
    let answer = ending.answer();
    assert_eq!(answer.status, 408);
    assert!(answer.closes(), "{answer:?}");
}

// === the service of the table ===

#[derive(Clone, Default)]
struct Handlers {
    oks: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<&'static str>>>,
    lifecycle: Arc<Mutex<Option<Lifecycle>>>,
}

impl Handlers {
    fn app(&self) -> App {
        let handlers = self.clone();
        app(move |request| handlers.clone().answer(request))
    }

    fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }

    async fn answer(self, request: Request<RequestBody>) -> Response<Body> {
        match request.uri().path() {
            "/sleep" => self.sleep(&request).await,
            "/read" => read(request.into_body()).await,
            "/stream" => stream(),
            "/limited" => at_most_100(request, false).await,
            "/limited/close" => at_most_100(request, true).await,
            "/timed" => {
                let slept = tokio::time::timeout(ms(300), tokio::time::sleep(ms(5000)));
                assert!(slept.await.is_err());
                reply(503, "timed out")
            }
            "/upgrade/told" => self.upgrade(request, true),
            "/upgrade/deaf" => self.upgrade(request, false),
            _ => {
                let count = self.oks.fetch_add(1, Ordering::Relaxed) + 1;
                reply(200, format!("ok {count}"))
            }
        }
    }

    /// Sleeps for the query's milliseconds, and records whether it finished.
    async fn sleep(self, request: &Request<RequestBody>) -> Response<Body> {
        struct Asleep(Handlers);
        impl Drop for Asleep {
            fn drop(&mut self) {
                self.0.log.lock().unwrap().push("sleep ended");
            }
        }
        let asleep = Asleep(self);
        let query = request.uri().query().expect("how long");
        tokio::time::sleep(ms(query.parse().expect("milliseconds"))).await;
        asleep.0.log.lock().unwrap().push("slept");
        reply(200, "slept")
    }

    /// Switches protocols; then says goodbye when the drain begins, or never.
    fn upgrade(self, mut request: Request<RequestBody>, notified: bool) -> Response<Body> {
        let lifecycle = self.lifecycle.lock().unwrap().clone();
        let lifecycle = lifecycle.expect("the server's phase");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(upgrade.await.expect("an upgrade"));
            if notified {
                lifecycle.draining().await;
                io.write_all(b"bye").await.expect("the client reads");
                io.shutdown().await.expect("the client is there");
            } else {
                let mut sink = tokio::io::sink();
                let _ = tokio::io::copy(&mut io, &mut sink).await;
            }
        });
        let mut response = reply(101, "");
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("x"));
        response
    }
}

/// Reads the body to its end, and reports how much arrived.
async fn read(mut body: RequestBody) -> Response<Body> {
    let mut length = 0;
    let error = loop {
        match body.frame().await {
            None => break "<nil>".to_owned(),
            Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => {
                assert!(error.is_timeout(), "{error:?}");
                break error.to_string();
            }
        }
    };
    reply(200, format!("n={length} err={error}"))
}

/// Returns 20 chunks, one every 100 ms.
fn stream() -> Response<Body> {
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        for chunk in 0..20 {
            let text = format!("chunk {chunk}\n");
            if sender.send_data(text.into()).await.is_err() {
                return;
            }
            tokio::time::sleep(ms(100)).await;
        }
    });
    Response::new(body)
}

/// Answers as a Go handler with `http.MaxBytesReader` and a limit of 100, whose error closes.
async fn at_most_100(request: Request<RequestBody>, close: bool) -> Response<Body> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > 100 {
            let mut response = reply(413, "too large");
            if close {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            return response;
        }
    }
    reply(200, format!("n={length}"))
}

async fn start(timeouts: Timeouts) -> (Server, Handlers) {
    let handlers = Handlers::default();
    let server = Server::start(timeouts, handlers.app()).await;
    (server, handlers)
}

fn post(path: &str, length: usize, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
}

// === the head ===

#[tokio::test]
async fn s01_rht_nothing_sent() {
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S01_rht_nothing_sent")["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s02_rt_fallback_header() {
    let (server, _) = start(Timeouts::none().read(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S02_rt_fallback_header")["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s03_rht_partial_header() {
    let go = case("S03_rht_partial_header");
    assert!(ours("S03_rht_partial_header").starts_with("408 with Connection: close, then FIN"));
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    client.send("GET /ok HTTP/1.1\r\nhost: a\r\n").await;
    let ending = client.read_until_close().await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s04_rht_drip_100ms() {
    let go = case("S04_rht_drip_100ms");
    assert_eq!(ours("S04_rht_drip_100ms"), "408, not 400");
    let (server, _) = start(Timeouts::none().read_header(ms(800))).await;
    let mut client = server.connect().await;
    let ending = client.drip(GET, ms(100)).await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s04c_rht_partial_header_line() {
    let go = case("S04c_rht_partial_header_line");
    assert_eq!(ours("S04c_rht_partial_header_line"), "408, not 400");
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    client.send("GET /ok HTTP/1.1\r\nhost: a\r\nx-hal").await;
    let ending = client.read_until_close().await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s05_only_wt_nothing_sent() {
    let (server, _) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close_for(ms(1000)).await;
    assert_as_go(&ending, &case("S05_only_wt_nothing_sent")["r"]);
    assert_eq!(server.open(), 1);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s24_header_too_large() {
    let handlers = Handlers::default();
    let limits = Limits::default().max_header_bytes(1024);
    let server = Setup::new().limits(limits).start(handlers.app()).await;
    let mut client = server.connect().await;
    let long = "a".repeat(8 * 1024);
    client
        .send(format!(
            "GET /ok HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        ))
        .await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S24_header_too_large")["r"]);
    assert_eq!(handlers.oks.load(Ordering::Relaxed), 0);
    drop(client);
    server.finish().await;
}

// === between two requests ===

#[tokio::test]
async fn s06_idle_timeout() {
    let go = case("S06_idle_timeout");
    let (server, _) = start(Timeouts::none().idle(ms(700))).await;
    let mut client = server.connect().await;
    assert_same(&client.ask(GET).await, &go["first"]);
    client.mark();
    assert_as_go(&client.read_until_close().await, &go["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s07_idle_fallback_to_rt() {
    let (server, _) = start(Timeouts::none().read(ms(700))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S07_idle_fallback_to_rt")["r"]);
    server.finish().await;
}

/// Sends `bytes` on a connection that has answered once, at once or after it was parked.
async fn next_begins_with(bytes: &str, after: Duration) -> Ending {
    let (server, _) = start(Timeouts::none().read_header(ms(300)).idle(ms(1500))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    client.sleep_until(after).await;
    client.mark();
    client.send(bytes).await;
    let ending = client.read_until_close().await;
    drop(client);
    server.finish().await;
    ending
}

#[tokio::test]
async fn s09_idle_then_3_bytes() {
    case("S09_idle_then_3_bytes");
    let differs = "the header deadline starts at the first byte, not the fourth";
    assert_eq!(ours("S09_idle_then_3_bytes"), differs);
    let (at_once, parked) = tokio::join!(
        next_begins_with("GET", Duration::ZERO),
        next_begins_with("GET", ms(500)),
    );
    assert_head_too_slow(&at_once, ms(300));
    assert_head_too_slow(&parked, ms(300));
}

#[tokio::test]
async fn s10_idle_then_4_bytes() {
    let go = case("S10_idle_then_4_bytes");
    assert_eq!(ours("S10_idle_then_4_bytes"), "408 at 0.3");
    let (at_once, parked) = tokio::join!(
        next_begins_with("GET ", Duration::ZERO),
        next_begins_with("GET ", ms(500)),
    );
    assert_head_too_slow(&at_once, seconds(&go["r"]["at"]));
    assert_head_too_slow(&parked, seconds(&go["r"]["at"]));
}

#[tokio::test]
async fn s11_rht_not_running_while_idle() {
    let (server, _) = start(Timeouts::none().read_header(ms(400))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.text(), "ok 1");
    client.mark();
    client.sleep_until(ms(800)).await;
    let second = client.ask(GET).await;
    assert_same(&second, &case("S11_rht_not_running_while_idle")["second"]);
    drop(client);
    server.finish().await;
}

// === the body ===

#[tokio::test]
async fn s13_rt_body_stall() {
    let (server, _) = start(Timeouts::none().read(ms(600))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 10, "abc")).await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S13_rt_body_stall")["r"]);
    let text = ending.answer().text();
    assert_eq!(text, "n=3 err=the request body did not arrive in time");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s14_rht_cleared_after_headers() {
    let (server, _) = start(Timeouts::none().read_header(ms(400))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 10, "abcde")).await;
    client.sleep_until(ms(1000)).await;
    let answer = client.ask("fghij").await;
    assert_same(&answer, &case("S14_rht_cleared_after_headers")["r"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s15_rt_does_not_limit_handler() {
    let go = case("S15_rt_does_not_limit_handler");
    let (server, _) = start(Timeouts::none().read(ms(500))).await;
    let mut client = server.connect().await;
    let answer = client
        .ask("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_same(&answer, &go["r"]);
    assert_time(client.elapsed(), seconds(&go["took"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s21_wt_includes_body_read_time_ok() {
    let (server, _) = start(Timeouts::none().write(ms(700))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 5, "")).await;
    client.sleep_until(ms(500)).await;
    let answer = client.ask("abcde").await;
    assert_same(&answer, &case("S21_wt_includes_body_read_time_ok")["r"]);
    drop(client);
    server.finish().await;
}

/// Go's reader closes the connection; so does a handler here that asks for it. Otherwise the rest, which is small, is
/// discarded and the connection continues.
#[tokio::test]
async fn s25_maxbytes_over_cl() {
    let (server, _) = start(Timeouts::none()).await;
    let body = "a".repeat(1000);
    let mut client = server.connect().await;
    client.send(post("/limited/close", 1000, &body)).await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S25_maxbytes_over_cl")["r"]);

    let mut client = server.connect().await;
    let answer = client.ask(post("/limited", 1000, &body)).await;
    assert_eq!(answer.status, 413);
    assert!(!answer.closes(), "{answer:?}");
    assert_eq!(client.ask(GET).await.text(), "ok 1");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s26_maxbytes_exact() {
    let go = case("S26_maxbytes_exact");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let body = "a".repeat(100);
    assert_same(&client.ask(post("/limited", 100, &body)).await, &go["r"]);
    assert_same(&client.ask(GET).await, &go["second"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s31_expect_continue_accepted() {
    let go = case("S31_expect_continue_accepted");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let head =
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    let interim = client.ask(head).await;
    assert_eq!(interim.status, go_answer(&go["interim"]).status);
    assert_same(&client.ask("abcde").await, &go["final"]);
    drop(client);
    server.finish().await;
}

// === the answer ===

#[tokio::test]
async fn s18_wt_handler_too_slow() {
    case("S18_wt_handler_too_slow");
    let differs = ours("S18_wt_handler_too_slow");
    assert!(differs.starts_with("at 0.5: the handler is cancelled; a 503"));
    let (server, handlers) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let ending = client.read_until_close().await;
    assert_eq!(handlers.log(), ["sleep ended"], "cancelled, and by now");
    assert_eq!(ending.how, How::Fin);
    assert_time(ending.at, ms(500));
    let answer = ending.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.closes(), "{answer:?}");
    server.finish().await;
}

/// Go's close looks like a complete response; ours is a reset, which no client mistakes for one.
#[tokio::test]
async fn s19_wt_streaming_truncated() {
    let go = case("S19_wt_streaming_truncated");
    let (server, _) = start(Timeouts::none().write(ms(600))).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Reset);
    assert_time(ending.at, seconds(&go["r"]["at"]));
    let answer = ending.answer();
    assert_eq!(answer.status, 200);
    assert!(!answer.complete, "{answer:?}");
    let tail = go["tail"].as_str().expect("what came last");
    assert!(tail.contains("chunk 5\n") && !tail.contains("chunk 6\n"));
    let text = answer.text();
    assert!(
        text.contains("chunk 4\n") && !text.contains("chunk 7\n"),
        "{text:?}"
    );
    server.finish().await;
}

#[tokio::test]
async fn s23_wt_reset_per_request() {
    let go = case("S23_wt_reset_per_request");
    let (server, handlers) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    for request in 0..4 {
        client.sleep_until(ms(300) * request).await;
        assert_eq!(client.ask(GET).await.status, 200);
    }
    assert_eq!(handlers.oks.load(Ordering::Relaxed), go["oks"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s32_timeouthandler() {
    let go = case("S32_timeouthandler");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let answer = client.ask("GET /timed HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_same(&answer, &go["r"]);
    assert_time(client.elapsed(), seconds(&go["took"]));
    // A 503 of the handler's own is an answer like any other.
    assert_eq!(client.ask(GET).await.status, 200);
    drop(client);
    server.finish().await;
}

// === the shutdown ===

#[tokio::test]
async fn sd_idle_keepalive() {
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("SD_idle_keepalive")["r"]);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_active() {
    let go = case("SD_active");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(200)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &go["r"]);
    assert_same(&ending.answer(), &go["r"]["data"]);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_streaming() {
    let go = case("SD_streaming");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.sleep_until(ms(500)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &go["r"]);
    assert!(
        ending
            .text()
            .ends_with(go["tail"].as_str().expect("its end"))
    );
    let answer = ending.answer();
    assert!(answer.complete);
    assert_eq!(answer.text().lines().count(), 20);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_new_no_bytes() {
    case("SD_new_no_bytes");
    let differs = "closed within a short window that is stated, never 5 s of polling";
    assert_eq!(ours("SD_new_no_bytes"), differs);
    let handlers = Handlers::default();
    let limits = Limits::default().drain_window(ms(300));
    let mut server = Setup::new().limits(limits).start(handlers.app()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
    assert_time(ending.at, ms(300));
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

async fn upgrade(server: &Server, path: &str) -> Raw {
    let mut client = server.connect().await;
    let answer = client
        .ask(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
        ))
        .await;
    let go = go_answer(&case("SD_hijacked")["r"]["data"]);
    assert_eq!(answer.status, go.status);
    assert_eq!(answer.header("upgrade"), go.header("upgrade"));
    client
}

#[tokio::test]
async fn sd_hijacked() {
    let differs = "counted, told, waited for within the drain budget";
    assert_eq!(ours("SD_hijacked"), differs);
    let handlers = Handlers::default();
    let setup = Setup::new().drain(ms(600));
    let mut server = setup.start(handlers.app()).await;
    let lifecycle = server.handle.lifecycle().clone();
    *handlers.lifecycle.lock().unwrap() = Some(lifecycle);
    let mut notified = upgrade(&server, "/upgrade/told").await;
    let mut deaf = upgrade(&server, "/upgrade/deaf").await;
    // The connection is counted.
    assert_eq!(server.open(), 2);
    notified.mark();
    deaf.mark();
    server.handle.drain_now();
    // The connection is notified: it says goodbye at once.
    let ending = notified.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Fin, "bye"));
    assert_time(ending.at, Duration::ZERO);
    // The drain waits for the connection as long as it may, then cuts and reports it.
    let ending = deaf.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert_time(ending.at, ms(600));
    let report = server.report().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    let cut = &report.cut[0];
    assert_eq!(
        (cut.method.as_str(), cut.path.as_str()),
        ("GET", "/upgrade/deaf")
    );
    assert_eq!(cut.state, "upgraded");
    assert_eq!(server.open(), 0);
}

#[tokio::test]
async fn sd_new_conn_after() {
    let go = case("SD_new_conn_after");
    assert_eq!(go["result"], "refused");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?500 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(100)).await;
    server.handle.drain_now();
    // The listener closes as soon as its queue is empty.
    let refused = async {
        loop {
            match tokio::net::TcpStream::connect(server.addr).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error.kind(),
            }
        }
    };
    let refused = within(ms(300), "a refusal", refused).await;
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    assert_eq!(client.read_response().await.text(), "slept");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

/// Go gives up and leaves the connection to the end of the process; lameduck cuts it at that moment by a reset, and the
/// report names it.
#[tokio::test]
async fn sd_grace_expired() {
    let go = case("SD_grace_expired");
    let handlers = Handlers::default();
    let setup = Setup::new().drain(ms(500));
    let mut server = setup.start(handlers.app()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?3000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(100)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Reset, ""));
    assert_time(ending.at, seconds(&go["r"]["at"]));
    let report = server.report().await;
    assert!(!report.is_clean());
    assert_eq!(report.cut.len(), 1, "{report}");
    let cut = &report.cut[0];
    assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/sleep"));
    assert_eq!(cut.state, "in the handler");
    assert_eq!(handlers.log(), ["sleep ended"], "cancelled");
}

// === HTTP/2 ===

/// Returns the time and the text of the table's event that begins so.
fn go_event(go: &Value, begins: &str) -> (Duration, String) {
    let events = go["events"].as_array().expect("events");
    let event = events
        .iter()
        .find(|event| event[1].as_str().expect("words").starts_with(begins))
        .unwrap_or_else(|| panic!("{begins} in {events:?}"));
    (seconds(&event[0]), event[1].as_str().unwrap().to_owned())
}

fn h2_get(path: &str) -> Request<()> {
    let uri = format!("http://a{path}");
    Request::builder().uri(uri).body(()).expect("a request")
}

/// Returns the whole answer to a request, and the time of its end.
async fn h2_answer(
    answer: h2::client::ResponseFuture,
    heard: &Heard,
) -> Result<(StatusCode, String, Duration), h2::Error> {
    let answer = async {
        let (head, mut body) = answer.await?.into_parts();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            text.extend_from_slice(&data?);
        }
        let text = String::from_utf8(text).expect("text");
        Ok((head.status, text, heard.elapsed()))
    };
    within(LIMIT, "an answer", answer).await
}

/// Returns the time of a GOAWAY without an error, after which the connection ended within Go's second.
async fn h2_leaves(
    connection: impl Future<Output = Result<(), h2::Error>>,
    heard: &Heard,
) -> Duration {
    let ended = within(LIMIT, "the end of the connection", connection).await;
    let ended_at = heard.elapsed();
    let (at, goaway) = heard.first(kind::GOAWAY, 0).expect("a GOAWAY");
    assert_eq!(goaway.code(), Some(0), "{ended:?}");
    assert!(ended_at <= at + ms(1400), "GOAWAY {at:?}, end {ended_at:?}");
    at
}

#[tokio::test]
async fn h2_preface_not_sent() {
    let go = case("h2_preface_not_sent");
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close().await;
    assert_eq!(go["how"], "FIN");
    assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
    assert_time(ending.at, seconds(&go["at"]));
    server.finish().await;
}

#[tokio::test]
async fn h2_idle_no_request() {
    let go = case("h2_idle_no_request");
    let (server, _) = start(Timeouts::none().idle(ms(500))).await;
    let (_sender, connection, heard) = h2_connect(server.addr).await;
    let at = h2_leaves(connection, &heard).await;
    assert_time(at, go_event(&go, "ConnectionTerminated code=0").0);
    server.finish().await;
}

#[tokio::test]
async fn h2_idle_after_request() {
    let go = case("h2_idle_after_request");
    let (server, _) = start(Timeouts::none().idle(ms(500))).await;
    let (mut sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let (answer, _) = sender.send_request(h2_get("/sleep?1000"), true).unwrap();
    let (status, text, at) = h2_answer(answer, &heard).await.expect("an answer");
    assert_eq!((status.as_u16(), text.as_str()), (200, "slept"));
    assert_time(at, go_event(&go, "DataReceived sid=1 b'slept'").0);
    let connection = async { connection.await.expect("no panic") };
    let at = h2_leaves(connection, &heard).await;
    assert_time(at, go_event(&go, "ConnectionTerminated code=0").0);
    server.finish().await;
}

#[tokio::test]
async fn h2_write_timeout_per_stream() {
    let go = case("h2_write_timeout_per_stream");
    let differs = ours("h2_write_timeout_per_stream");
    assert!(differs.starts_with("before a head is sent: 503"));
    let (server, handlers) = start(Timeouts::none().write(ms(500))).await;
    let (mut sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let (slow, _) = sender.send_request(h2_get("/sleep?1200"), true).unwrap();
    let (fast, _) = sender.send_request(h2_get("/ok"), true).unwrap();
    let (status, text, at) = h2_answer(fast, &heard).await.expect("an answer");
    assert_eq!((status.as_u16(), text.as_str()), (200, "ok 1"));
    assert!(
        at <= go_event(&go, "StreamEnded sid=3").0 + ms(400),
        "{at:?}"
    );

    let (status, _, at) = h2_answer(slow, &heard).await.expect("an answer");
    assert_eq!(status.as_u16(), 503);
    assert_time(at, go_event(&go, "StreamReset sid=1").0);
    assert_eq!(heard.first(kind::RST_STREAM, 1), None);
    assert_eq!(handlers.log(), ["sleep ended"], "cancelled");

    // The connection is still usable.
    let (next, _) = sender.send_request(h2_get("/ok"), true).unwrap();
    let (_, text, _) = h2_answer(next, &heard).await.expect("an answer");
    assert_eq!(text, "ok 2");
    assert_eq!(heard.first(kind::GOAWAY, 0), None);
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
    server.finish().await;
}

#[tokio::test]
async fn h2_read_timeout_body_stall() {
    let go = case("h2_read_timeout_body_stall");
    let (server, _) = start(Timeouts::none().read(ms(500))).await;
    let (mut sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a/read").body(()).unwrap();
    let (answer, _body) = sender.send_request(request, false).unwrap();
    let (status, text, at) = h2_answer(answer, &heard).await.expect("an answer");
    let (go_at, go_text) = go_event(&go, "DataReceived sid=1");
    assert!(go_text.contains("n=0 err="), "{go_text}");
    assert_eq!(status.as_u16(), 200);
    assert!(text.starts_with("n=0 err=the request body did"), "{text}");
    assert_time(at, go_at);
    // The client is asked to stop sending, without an error.
    let (go_at, go_reset) = go_event(&go, "StreamReset sid=1");
    assert!(go_reset.ends_with("code=0"));
    let (_, reset) = heard.until(kind::RST_STREAM, 1).await;
    assert_eq!(reset.code(), Some(0));
    assert_time(heard.elapsed(), go_at);
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
    server.finish().await;
}

#[tokio::test]
async fn h2_shutdown_idle() {
    let go = case("h2_shutdown_idle");
    let (mut server, _) = start(Timeouts::none()).await;
    let (sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    // The server has accepted the connection once its settings arrive.
    heard.until(kind::SETTINGS, 0).await;
    let began = heard.elapsed();
    server.handle.drain_now();
    let connection = async { connection.await.expect("no panic") };
    let at = h2_leaves(connection, &heard).await;
    assert_time(at - began, go_event(&go, "ConnectionTerminated code=0").0);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    drop(sender);
}

// === the table ===

#[test]
fn every_case_has_its_test() {
    let go: Value = serde_json::from_str(GO).expect("the table is JSON");
    let here = include_str!("go_table.rs");
    let cases = go["cases"].as_object().expect("cases");
    assert_eq!(cases.len(), 36);
    for name in cases.keys() {
        let test = format!("#[tokio::test]\nasync fn {}()", name.to_lowercase());
        assert!(here.contains(&test), "{name} has no test");
    }
    let ours = go["ours"].as_object().expect("differences");
    for name in ours.keys() {
        let asked = format!("ours(\"{name}\")");
        assert!(here.contains(&asked), "{name} is not asked for");
    }
}
