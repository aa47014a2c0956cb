//! Log lines of a real server, as a real subscriber writes them: requests cannot forge one, and refusals, cut
//! connections and the drain are logged.
#![cfg(feature = "tracing")]

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use lameduck::real_ip::Resolver;
use lameduck::serve::RequestBody;
use lameduck::{AccessLogLayer, DrainLayer, Phase, RequestIdLayer, Timeouts, logs};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tower::{ServiceBuilder, service_fn};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{LIMIT, Server, ms, within};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Written;

    fn make_writer(&'a self) -> Written {
        self.clone()
    }
}

impl Written {
    fn json() -> (Written, tracing::subscriber::DefaultGuard) {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(written.clone())
            .finish();
        (written, tracing::subscriber::set_default(subscriber))
    }

    fn text() -> (Written, tracing::subscriber::DefaultGuard) {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(written.clone())
            .finish();
        (written, tracing::subscriber::set_default(subscriber))
    }

    fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until the access log has `count` lines.
    async fn access(&self, count: usize) -> Vec<String> {
        let lines = async {
            loop {
                let all = self.all();
                let lines = all.lines().filter(|line| line.contains("lameduck::access"));
                let lines: Vec<_> = lines.map(str::to_owned).collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::time::sleep(ms(2)).await;
            }
        };
        within(LIMIT, "the access log", lines).await
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<RequestBody>) -> Result<Response<Body>, io::Error> {
    match request.uri().path() {
        "/hang" => std::future::pending().await,
        "/fail" => Err(io::Error::other("broke\n2026 ERROR forged \x1b[31m")),
        "/endless" => {
            let chunk = || Ok(Frame::data(Bytes::from_static(&[0; 4096])));
            let body = StreamBody::new(tokio_stream::iter(std::iter::repeat_with(chunk)));
            Ok(Response::new(body.boxed_unsync()))
        }
        _ => Ok(Response::new(Full::from("hello").boxed_unsync())),
    }
}

#[tokio::test]
async fn access_log_records_client_id_and_end() {
    let (written, _guard) = Written::json();
    let resolver = Resolver::new("loopback".parse().unwrap());
    let server = Server::start(
        Timeouts::none(),
        ServiceBuilder::new()
            .layer(RequestIdLayer::new())
            .layer(
                AccessLogLayer::new()
                    .client(move |peer, headers| resolver.resolve(peer, headers).ip),
            )
            .service(service_fn(answer)),
    )
    .await;
    let mut raw = server.connect().await;
    let head = "GET /hello?secret HTTP/1.1\r\nhost: a\r\nx-request-id: r1\r\n\
                x-forwarded-for: 203.0.113.9\r\n\r\n";
    raw.send(head).await;
    let lines = written.access(1).await;
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/hello");
    assert_eq!(line["status"], 200);
    assert_eq!(line["version"], "1.1");
    assert_eq!(line["bytes_out"], 5);
    assert_eq!(line["client"], "203.0.113.9");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(line["request_id"], "r1");
    assert_eq!(line["end"], "complete");

    // The client leaves in the middle of the body.
    let mut gone = server.connect().await;
    gone.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gone.stream().readable().await.unwrap();
    drop(gone);
    let lines = written.access(2).await;
    let line: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(line["path"], "/endless");
    assert_eq!(line["end"], "client_gone");
    assert_eq!(line["status"], 200);
    assert!(line["bytes_out"].as_u64().unwrap() >= 4096);
    assert!(!written.all().contains("secret"));
}

/// A cut by a deadline, a client that left and the end of the drain are distinguished.
#[tokio::test]
async fn access_log_distinguishes_how_requests_end() {
    let (written, _guard) = Written::json();
    let app = || {
        ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .service(service_fn(answer))
    };
    let end_of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["end"].clone();
    let mut server = Server::start(Timeouts::none().write(ms(200)), app()).await;
    let mut late = server.connect().await;
    assert_eq!(
        late.ask("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .status,
        503
    );
    assert_eq!(end_of(&written.access(1).await[0]), "timeout");
    let mut stuck = server.connect().await;
    stuck.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(
        end_of(&written.access(2).await[1]),
        "timeout",
        "in its body"
    );
    drop((late, stuck));
    server.drain().await;

    let mut server = Server::start(Timeouts::none(), app()).await;
    let mut cut = server.connect().await;
    cut.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    cut.stream().readable().await.unwrap();
    server.handle.cut();
    server.report().await;
    assert_eq!(end_of(&written.access(3).await[2]), "cut");
}

#[tokio::test]
async fn requests_cannot_forge_log_lines() {
    let (written, _guard) = Written::text();
    let server = Server::start(
        Timeouts::none(),
        ServiceBuilder::new()
            .layer(RequestIdLayer::new())
            .layer(AccessLogLayer::new())
            .service(service_fn(answer)),
    )
    .await;
    let mut raw = server.connect().await;
    // A quote, C1 controls, a bidirectional override, a line separator: all of it valid UTF-8, and no target.
    raw.send("GET /a\"\u{9b}31m\u{85}\u{202e}\u{2028} HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(raw.read_until_close().await.answer().status, 400);
    let mut raw = server.connect().await;
    raw.send(format!(
        "GET /{} HTTP/1.1\r\nhost: a\r\nx-request-id: a\" end=\"b\r\n\r\n",
        "x".repeat(4000)
    ))
    .await;
    let lines = written.access(1).await;
    assert!(!lines[0].contains("end=\"b"));
    assert!(lines[0].contains(&format!("path=\"/{}…\" ", "x".repeat(255))));
    assert!(
        !written
            .all()
            .chars()
            .any(|char| char.is_control() && char != '\n')
    );
}

#[tokio::test]
async fn server_logs_phases_failures_and_refusals() {
    let (written, _guard) = Written::json();
    let events = logs::event_sink();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = lameduck::Shutdown::new()
        .signals(false)
        .lame_duck(ms(10))
        .drain(ms(200));
    let handle = shutdown.handle();
    let drained = lameduck::Lifecycle::new();
    drained.advance(Phase::Draining);
    let app = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(
            DrainLayer::new(&drained)
                .exempt(|head| head.uri.path() != "/refused")
                .events(events.clone()),
        )
        .service(service_fn(answer));
    let served = tokio::spawn(async move {
        let serve = lameduck::serve(listener, app).events(events);
        serve.shutdown(shutdown).await
    });
    let mut connections = Vec::new();
    for path in ["/fail", "/refused", "/hang"] {
        let mut connection = tokio::net::TcpStream::connect(addr).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        connections.push(connection);
    }
    // One fails, one is refused; the third one hangs until it is cut.
    written.access(2).await;
    let hangs = async {
        while !handle
            .in_flight()
            .iter()
            .any(|it| it.path == "/hang" && it.state == "in the handler")
        {
            tokio::time::sleep(ms(2)).await;
        }
    };
    within(LIMIT, "the third request", hangs).await;
    handle.shutdown();
    within(LIMIT, "the end", served).await.unwrap().unwrap();

    let lines = written.access(3).await;
    let statuses: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone())
        .collect();
    assert!(
        statuses.contains(&Value::from(503)),
        "the refusal is in the access log"
    );

    let all: Vec<Value> = written
        .all()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| {
        all.iter()
            .filter(|line| line["event"] == event)
            .collect::<Vec<_>>()
    };
    let phases: Vec<_> = of("phase")
        .iter()
        .map(|line| line["phase"].clone())
        .collect();
    assert_eq!(phases, ["ready", "lame_duck", "draining", "closed"]);
    assert_eq!(of("service_error").len(), 1);
    assert_eq!(
        of("service_error")[0]["error"],
        "broke 2026 ERROR forged \u{fffd}[31m"
    );
    let refused: Vec<_> = of("refused")
        .iter()
        .map(|line| line["reason"].clone())
        .collect();
    assert_eq!(
        refused,
        ["draining"],
        "a failure is logged as such, and at debug as a refusal"
    );
    assert_eq!(of("cut").len(), 1);
    assert_eq!(of("cut")[0]["path"], "/hang");
    assert!(
        of("cut")[0]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}
