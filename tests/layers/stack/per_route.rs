//! Settings of single routes, where axum's users put them, beneath a stack on `lameduck::serve` and elsewhere.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use lameduck::drain::Draining;
use lameduck::serve::Deadlines;
use lameduck::{BodyLimitLayer, ClientIp, Lifecycle, TimeoutLayer, Timeouts, route};
use tower::ServiceExt;

use crate::support::{Setup, ms};

const KB: usize = 1024;

/// Yields one event, and then stays silent without an end.
struct Silence(Option<Bytes>);

impl http_body::Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(event) => Poll::Ready(Some(Ok(http_body::Frame::data(event)))),
            None => Poll::Pending,
        }
    }
}

async fn events() -> Body {
    Body::new(Silence(Some(Bytes::from_static(b"data: 1\n\n"))))
}

/// A stack that takes 1 KiB and waits 200 ms, around routes with settings of their own.
fn app() -> Router {
    let length = |body: Bytes| async move { body.len().to_string() };
    let slow = || async {
        tokio::time::sleep(ms(600)).await;
        "done"
    };
    let stack = lameduck::stack(&Lifecycle::new())
        .body_limit(BodyLimitLayer::new(KB as u64))
        .timeout(TimeoutLayer::new(ms(200)));
    Router::new()
        .route("/good", get(|| async { "good" }))
        .route("/small", post(length))
        .route("/upload", post(length).layer(route().body_limit(4 << 20)))
        .route("/slow", get(slow))
        .route(
            "/report",
            get(slow).layer(route().timeout(Duration::from_secs(60))),
        )
        .route("/events", get(events).layer(route().streaming()))
        .layer(stack)
}

fn upload(path: &str, bytes: usize) -> String {
    let body = "x".repeat(bytes);
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n{body}")
}

#[tokio::test]
async fn route_settings_replace_the_stack_s() {
    // The server's own deadline for the head is shorter than the route's time, and follows it.
    let timeouts = Timeouts::none().response_head(ms(400));
    let server = Setup::new().timeouts(timeouts).start(app()).await;
    let mut client = server.connect().await;
    // Over axum's own default limit of 2 MB as well.
    let answer = client.ask(upload("/upload", 3 << 20)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "3145728"));
    let answer = client.ask("GET /report HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    let answer = client.ask("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status, 503);
    let answer = client.ask(upload("/small", 2 * KB)).await;
    let text = "the request body is larger than 1024 bytes\n";
    assert_eq!((answer.status, answer.text().as_str()), (413, text));
    drop(client);
    let mut client = server.connect().await;
    let answer = client.ask(upload("/upload", 5 << 20)).await;
    let text = "the request body is larger than 4194304 bytes, the largest limit of any route (the service's is 1024)\n";
    assert_eq!((answer.status, answer.text().as_str()), (413, text));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn stream_ends_at_the_drain_and_the_report_is_clean() {
    let mut server = Setup::new().timeouts(Timeouts::go()).start(app()).await;
    let mut client = server.connect().await;
    client
        .send("GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let mut read = String::new();
    while !read.contains("data: 1") {
        read += &client.read_until_close_for(ms(50)).await.text();
    }
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < Duration::from_secs(4), "{report}");
    read += &client.read_until_close().await.text();
    assert!(read.ends_with("data: 1\n\n\r\n0\r\n\r\n"), "{read}");
}

async fn ask(app: Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn extractors_answer_without_the_server_and_without_layers() {
    let handler = |draining: Draining, deadlines: Deadlines, client: ClientIp| async move {
        deadlines.set_write(None);
        format!("{:?} {:?} {}", draining.phase(), client.ip, client.source)
    };
    let (status, answer) = ask(Router::new().route("/", get(handler)), "/").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer, "Starting None unknown");
}

#[tokio::test]
async fn routes_keep_their_settings_on_another_server() {
    let app = app();
    let request = Request::post("/upload")
        .header("content-length", 2 * KB)
        .body(Body::from(vec![b'x'; 2 * KB]));
    let response = app.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(ask(app.clone(), "/report").await.0, StatusCode::OK);
    assert_eq!(ask(app, "/slow").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
