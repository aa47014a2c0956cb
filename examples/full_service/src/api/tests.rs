//! The layers of the API over a socket, with handlers that a service should not have.

use std::{
    convert::Infallible,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use lameduck::{BodyLimitLayer, Lifecycle, RequestIdLayer, TimeoutLayer, shutdown::Shutdown};
use serde_json::Value;
use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;

use super::{around, panics, within};

/// The service, as `main` puts it together.
async fn serve(routes: Router) -> SocketAddr {
    let stack = lameduck::stack(&Lifecycle::new())
        .request_id(RequestIdLayer::new())
        .body_limit(BodyLimitLayer::new(8))
        .timeout(TimeoutLayer::new(Duration::from_secs(5)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let app = around(within(routes).layer(stack), None);
    let shutdown = Shutdown::with_signals(false);
    tokio::spawn(
        lameduck::serve(listener, app)
            .shutdown(shutdown)
            .into_future(),
    );
    address
}

/// Sends requests on one connection, the last of which closes it; returns all that comes back.
async fn exchange(address: SocketAddr, requests: String) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(requests.as_bytes())?;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answers).into_owned())
    };
    let done = tokio::task::spawn_blocking(exchange).await;
    done.expect("no panic").expect("an answer")
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: test\r\nx-request-id: from-the-test\r\n{headers}\r\n")
}

/// Returns the body of the first answer.
fn json(answer: &str) -> Value {
    let (_, rest) = answer.split_once("\r\n\r\n").expect("a head");
    let mut bodies = serde_json::Deserializer::from_str(rest).into_iter();
    bodies.next().expect("a body").expect("JSON")
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().expect("a log").clone()).expect("text");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The log is the process's, as a service's is: with one of a thread, `tracing` forgets lines of other threads' tests.
#[tokio::test]
async fn panic_is_one_line_and_a_problem_without_its_text() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
    let usual = std::panic::take_hook();
    panics::log();
    let panic = get(|| async { panic!("the password is hunter2") as &'static str });
    let routes = Router::new().route("/api/v1/panic", panic);
    let address = serve(routes.route("/api/v1/fine", get(|| async { "fine" }))).await;

    let first = request("GET /api/v1/panic", "");
    let second = request("GET /api/v1/fine", "connection: close\r\n");
    let answers = exchange(address, first + &second).await;
    std::panic::set_hook(usual);
    assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
    assert!(
        answers.ends_with("fine"),
        "the connection goes on: {answers}"
    );
    assert!(!answers.contains("hunter2"), "{answers}");
    let problem = json(&answers);
    assert_eq!(problem["type"], "/problems/internal");
    assert_eq!(problem["request_id"], "from-the-test");
    assert_eq!(problem["instance"], "/api/v1/panic");

    let lines = log.lines();
    let of_panic = lines
        .iter()
        .filter(|line| line.to_string().contains("hunter2"));
    let of_panic: Vec<_> = of_panic.collect();
    let [line] = of_panic.as_slice() else {
        panic!("not one line: {lines:#?}");
    };
    assert_eq!(line["message"], "panicked");
    assert_eq!(line["span"]["request_id"], "from-the-test");
    let place = line["place"].as_str().expect("a place");
    assert!(place.contains("api/tests.rs:"), "{place}");
    assert!(
        line["backtrace"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}

#[tokio::test]
async fn panic_after_the_head_cuts_the_connection() {
    let read = Arc::new(Notify::new());
    let wait = Arc::clone(&read);
    let body = get(|| async move {
        let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
        let second = stream::once(async move {
            wait.notified().await;
            panic!("in the body")
        });
        Response::new(Body::from_stream(first.chain(second)))
    });
    let address = serve(Router::new().route("/api/v1/half", body)).await;
    let exchange = move || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a limit");
        let half = request("GET /api/v1/half", "");
        stream.write_all(half.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"first\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the first half");
            answer.extend(byte);
        }
        read.notify_one();
        let cut = stream
            .read_to_end(&mut answer)
            .map_err(|error| error.kind());
        (cut, answer)
    };
    let (cut, answer) = tokio::task::spawn_blocking(exchange)
        .await
        .expect("no panic");
    // Either is the end of a connection, and neither is the end of a body.
    assert!(
        matches!(cut, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{cut:?}"
    );
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn refusals_of_other_layers_become_problems() {
    let echo = post(|body: Bytes| async { body });
    let routes = Router::new()
        .route("/api/v1/echo", echo.clone())
        .route("/echo", echo);
    let address = serve(routes).await;
    let long = "connection: close\r\ncontent-length: 9\r\n";
    for (line, headers, status, code) in [
        ("POST /api/v1/echo", long, 413, "body-too-large"),
        (
            "GET /api/v1/echo",
            "connection: close\r\n",
            405,
            "method-not-allowed",
        ),
        (
            "GET /api/v1/nowhere",
            "connection: close\r\n",
            404,
            "not-found",
        ),
        ("GET /api", "connection: close\r\n", 404, "not-found"),
    ] {
        for accept in ["", "accept: application/json\r\n", "accept: text/plain\r\n"] {
            let answer = exchange(address, request(line, &format!("{headers}{accept}"))).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert!(
                answer.contains("\r\ncontent-type: application/problem+json\r\n"),
                "{answer}"
            );
            let problem = json(&answer);
            assert_eq!(problem["type"], format!("/problems/{code}"), "{answer}");
            assert_eq!(problem["status"], status);
            assert_eq!(problem["request_id"], "from-the-test");
        }
    }
    let answer = exchange(
        address,
        request("GET /api/v1/echo", "connection: close\r\n"),
    )
    .await;
    assert!(answer.contains("\r\nallow: POST\r\n"), "{answer}");

    // Neither other paths nor gRPC have this form.
    let answer = exchange(address, request("POST /echo", long)).await;
    assert!(answer.contains("\r\ncontent-type: text/plain"), "{answer}");
    let grpc = format!("{long}content-type: application/grpc\r\n");
    let answer = exchange(address, request("POST /api/v1/echo", &grpc)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\ngrpc-status: 8\r\n"), "{answer}");
}
