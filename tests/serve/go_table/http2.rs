//! The table: HTTP/2.

use std::time::Duration;

use http::{Request, StatusCode};
use lameduck::Timeouts;
use serde_json::Value;

use super::{assert_time, case, ours, seconds, start};
use crate::support::*;

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
