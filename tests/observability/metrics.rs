//! A service whose metrics are scraped over HTTP while it works and while it leaves.
#![cfg(all(feature = "metrics", feature = "axum"))]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::{Router, routing::get};
use http_body::Frame;
use http_body_util::StreamBody;
use lameduck::serve::ServeError;
use lameduck::shutdown::ShutdownHandle;
use lameduck::{Metrics, Phase, Report, Shutdown, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

use crate::support::{LIMIT, Raw, h2_connect, ms, within};

/// A service as users build it: the stack, the metrics around it, and `/metrics` on an observing port.
struct Running {
    public: SocketAddr,
    admin: SocketAddr,
    handle: ShutdownHandle,
    gate: Arc<Semaphore>,
    report: JoinHandle<Result<Report, ServeError>>,
}

/// Answers with a piece now and then.
async fn endless() -> Response {
    let pieces = tokio_stream::iter(std::iter::repeat("piece")).then(|piece| async move {
        tokio::time::sleep(ms(2)).await;
        Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece)))
    });
    Response::new(Body::new(StreamBody::new(pieces)))
}

/// Answers as file servers do: a stream that does not know its end, under a declared length.
async fn file() -> Response {
    let pieces = tokio_stream::iter(["01234", "56789"]);
    let pieces = pieces.map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece))));
    Response::builder()
        .header("content-length", "10")
        .body(Body::new(StreamBody::new(pieces)))
        .unwrap()
}

async fn gated(State(gate): State<Arc<Semaphore>>) -> &'static str {
    gate.acquire().await.unwrap().forget();
    "done"
}

impl Running {
    async fn start() -> Running {
        let shutdown = Shutdown::new()
            .signals(false)
            .lame_duck(Duration::ZERO)
            .drain(LIMIT);
        let handle = shutdown.handle();
        let metrics = Metrics::new();
        let events = metrics.event_sink();
        let stack = lameduck::stack(handle.lifecycle())
            .timeout(lameduck::TimeoutLayer::off())
            .events(events.clone());
        metrics
            .shutdown(&handle)
            .in_flight(stack.in_flight_handle());

        let gate = Arc::new(Semaphore::new(0));
        let app: Router = Router::new()
            .route("/slow/{id}", get(gated))
            .route("/file", get(file))
            .route("/stream/{id}", get(endless))
            .with_state(gate.clone())
            .layer(stack)
            .layer(metrics.layer());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let observe = lameduck::serve(listener, metrics.service()).observe(&handle);
        tokio::spawn(observe.into_future());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = listener.local_addr().unwrap();
        let serve = lameduck::serve(listener, app)
            .timeouts(Timeouts::none())
            .events(events)
            .shutdown(shutdown);
        let report = tokio::spawn(serve.into_future());
        let ready = handle.lifecycle().reached(Phase::Ready);
        within(LIMIT, "ready", ready).await;
        Running {
            public,
            admin,
            handle,
            gate,
            report,
        }
    }

    async fn scrape(&self) -> Scrape {
        let mut client = Raw::connect(self.admin).await;
        let answer = client
            .ask("GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(answer.status, 200);
        assert!(answer.complete);
        Scrape(answer.text())
    }

    /// Scrapes until this sample has that value.
    async fn until(&self, sample: &str, value: &str) -> Scrape {
        let came = async {
            loop {
                let scrape = self.scrape().await;
                if scrape.value(sample) == Some(value) {
                    return scrape;
                }
                tokio::time::sleep(ms(5)).await;
            }
        };
        within(LIMIT, sample, came).await
    }

    /// Sends a request that is being handled, on a connection of its own.
    async fn slow(&self, id: u32) -> Raw {
        let mut client = Raw::connect(self.public).await;
        client
            .send(format!("GET /slow/{id} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        client
    }
}

struct Scrape(String);

impl Scrape {
    /// Returns the value of a sample by its full name and labels; `None` while it is absent.
    fn value(&self, sample: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .find(|(key, _)| *key == sample)
            .map(|(_, value)| value)
    }

    fn duration(&self, route: &str, status: &str, error: &str) -> Option<&str> {
        self.value(&duration(route, status, error))
    }
}

fn duration(route: &str, status: &str, error: &str) -> String {
    format!(
        "http_server_request_duration_seconds_count{{http_request_method=\"GET\",http_route=\"{route}\",\
         http_response_status_code=\"{status}\",network_protocol_version=\"1.1\",error_type=\"{error}\"}}"
    )
}

const ACTIVE: &str = "http_server_active_requests{http_request_method=\"GET\"}";

#[tokio::test]
async fn metrics_count_requests_in_flight_and_gone_clients() {
    let running = Running::start().await;
    let before = running.scrape().await;
    assert_eq!(before.value(ACTIVE), Some("0"));
    assert_eq!(before.value("lameduck_phase{phase=\"ready\"}"), Some("1"));
    let accepted = "lameduck_connections_accepted_total";
    assert_eq!(
        before.value(accepted),
        Some("0"),
        "the admin port's are not counted"
    );

    let mut stays = running.slow(1).await;
    // The client uses HTTP/2, which announces its end: the end of an HTTP/1 client's side may be a half-close.
    let (sender, connection, _) = h2_connect(running.public).await;
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::get("http://a/slow/2").body(()).unwrap();
    let (goes, _) = sender.send_request(request, true).unwrap();
    let during = running.until(ACTIVE, "2").await;
    assert_eq!(during.value("lameduck_in_flight_requests"), Some("2"));
    assert_eq!(
        during.value("lameduck_connections{state=\"handler\"}"),
        Some("2")
    );
    assert_eq!(during.value(accepted), Some("2"));
    let gone = duration("/slow/{id}", "", "499").replace("1.1", "2");
    assert_eq!(during.value(&gone), None);

    drop(goes);
    let after = running.until(&gone, "1").await;
    assert_eq!(after.value(ACTIVE), Some("1"));

    let mut stream = TcpStream::connect(running.public).await.unwrap();
    stream
        .write_all(b"GET /stream/1 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    // Not gone before a piece of it is there.
    let mut heard = Vec::new();
    let piece = async {
        while !heard.ends_with(b"piece\r\n") {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
    };
    within(LIMIT, "a piece of the stream", piece).await;
    drop(stream);
    let half = running
        .until(&duration("/stream/{id}", "200", "499"), "1")
        .await;
    let sent = "http_server_response_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"/stream/{id}\"}";
    let sent: f64 = half.value(sent).unwrap().parse().unwrap();
    assert!(sent >= 5.0 && sent % 5.0 == 0.0, "whole pieces, not {sent}");

    running.gate.add_permits(1);
    assert_eq!(stays.read_response().await.text(), "done");
    let missing = "GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(stays.ask(missing).await.status, 404);
    let end = running.until(&duration("unmatched", "404", ""), "1").await;
    assert_eq!(end.duration("/slow/{id}", "200", ""), Some("1"));
    assert_eq!(end.value(ACTIVE), Some("0"));
    assert_eq!(end.value("lameduck_in_flight_requests_peak"), Some("2"));
    let peer = "lameduck_client_address_total{source=\"peer\"}";
    assert_eq!(end.value(peer), Some("4"));
    connection.abort();
}

/// hyper drops a body once its declared length is written, and does not poll it to its end.
#[tokio::test]
async fn complete_file_download_is_not_cancelled() {
    let running = Running::start().await;
    let mut client = Raw::connect(running.public).await;
    let answer = client.ask("GET /file HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.text(), "0123456789");
    let scrape = running.until(ACTIVE, "0").await;
    assert_eq!(scrape.duration("/file", "200", "499"), None);
    assert_eq!(scrape.duration("/file", "200", ""), Some("1"));
}

#[tokio::test]
async fn observing_port_reports_the_drain() {
    let running = Running::start().await;
    let mut slow = running.slow(1).await;
    running.until(ACTIVE, "1").await;
    running.handle.drain_now();
    let draining = running
        .until("lameduck_phase{phase=\"draining\"}", "1")
        .await;
    assert_eq!(draining.value("lameduck_phase{phase=\"ready\"}"), Some("0"));
    assert_eq!(draining.value(ACTIVE), Some("1"));
    let so_far = |scrape: &Scrape| -> f64 {
        let value = scrape.value("lameduck_drain_duration_seconds");
        value.expect("a sample").parse().expect("a number")
    };
    let first = so_far(&draining);
    tokio::time::sleep(ms(20)).await;
    assert!(so_far(&running.scrape().await) >= first + 0.02);

    running.gate.add_permits(1);
    assert_eq!(slow.read_response().await.status, 200);
    let report = within(LIMIT, "the report", running.report).await;
    let report = report.unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
}

/// The server reports deadlines, refusals and cuts.
#[tokio::test]
async fn server_events_are_counted() {
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(ms(50));
    let handle = shutdown.handle();
    let metrics = Metrics::new();
    metrics.shutdown(&handle);
    let app: Router = Router::new()
        .route("/never", get(std::future::pending::<()>))
        .layer(metrics.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let timeouts = Timeouts::none().read_header(ms(50));
    let serve = lameduck::serve(listener, app)
        .timeouts(timeouts)
        .events(metrics.event_sink())
        .shutdown(shutdown);
    let report = tokio::spawn(serve.into_future());

    let mut half = Raw::connect(addr).await;
    half.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(half.read_until_close().await.answer().status, 408);
    let mut never = Raw::connect(addr).await;
    never.send("GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let arrived = async {
        while handle.in_flight().is_empty() {
            tokio::time::sleep(ms(2)).await;
        }
    };
    within(LIMIT, "it has arrived", arrived).await;
    handle.drain_now();
    let report = within(LIMIT, "the report", report).await.unwrap().unwrap();
    assert_eq!(report.cut.len(), 1);

    let scrape = {
        use tower::ServiceExt;
        let answer = metrics.service().oneshot(http::Request::new(())).await;
        let body = http_body_util::BodyExt::collect(answer.unwrap().into_body()).await;
        Scrape(String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap())
    };
    for sample in [
        "lameduck_timeouts_total{kind=\"read_header\"}",
        "lameduck_refusals_total{reason=\"head_too_slow\"}",
        "lameduck_connections_closed_total{reason=\"read_header\"}",
        "lameduck_connections_closed_total{reason=\"cut\"}",
        "lameduck_requests_cut_total",
        "lameduck_phase{phase=\"closed\"}",
    ] {
        assert_eq!(scrape.value(sample), Some("1"), "{sample}");
    }
    assert_eq!(
        scrape.duration("/never", "", "cut"),
        Some("1"),
        "{}",
        scrape.0
    );
    let drain = scrape.value("lameduck_drain_duration_seconds").unwrap();
    assert_eq!(drain.parse::<f64>().unwrap(), report.drain.as_secs_f64());
}

/// The metrics work without events from the drained server.
#[tokio::test]
async fn drain_duration_excludes_workers_and_closers() {
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (came, comes) = tokio::sync::oneshot::channel::<()>();
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .closer("slow", LIMIT, || async {
            came.send(()).ok();
            gone.await.ok();
        })
        .termination_grace(LIMIT * 10);
    let handle = shutdown.handle();
    let metrics = Metrics::new();
    metrics.shutdown(&handle);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = lameduck::serve(listener, Router::<()>::new()).shutdown(shutdown);
    let report = tokio::spawn(serve.into_future());
    let measured = async || {
        use tower::ServiceExt;
        let answer = metrics.service().oneshot(http::Request::new(())).await;
        let body = http_body_util::BodyExt::collect(answer.unwrap().into_body()).await;
        let scrape = Scrape(String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap());
        let drain = scrape.value("lameduck_drain_duration_seconds").unwrap();
        drain.parse::<f64>().unwrap()
    };
    let ready = handle.lifecycle().reached(Phase::Ready);
    within(LIMIT, "ready", ready).await;
    handle.drain_now();
    within(LIMIT, "the closer", comes).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    let during = measured().await;
    go.send(()).unwrap();
    let report = within(LIMIT, "the report", report).await.unwrap().unwrap();
    assert_eq!(
        (during, measured().await),
        (report.drain.as_secs_f64(), during)
    );
}
