//! The behaviour of Go's net/http in 36 situations, measured over TCP (`tests/data/go_timeouts.json`), and that of
//! lameduck: the same, or the difference that is named.
//!
//! The file gives the expected outcome wherever lameduck matches Go. Natural differences are not compared: dates, the
//! text of a refusal, the words of an error.

mod bodies;
mod heads;
mod http2;
mod shutdown;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::RequestBody;
use lameduck::{Lifecycle, Timeouts};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::*;

const GO: &str = include_str!("../../data/go_timeouts.json");
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

// === the table ===

#[test]
fn every_case_has_its_test() {
    let go: Value = serde_json::from_str(GO).expect("the table is JSON");
    let here = concat!(
        include_str!("bodies.rs"),
        include_str!("heads.rs"),
        include_str!("http2.rs"),
        include_str!("shutdown.rs"),
    );
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
