//! The body limit over real sockets: a 413 is worth something only if the client can read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::routing::{any, post};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use lameduck::events::EventSink;
use lameduck::{BodyLimitLayer, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder};

use crate::support::*;

const LIMIT_BYTES: usize = 100_000;
const UPLOAD: usize = 5_000_000;
const LONG: Duration = Duration::from_secs(60);

/// Counts the calls of the handlers and the layer.
#[derive(Clone, Default)]
struct Count {
    calls: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

/// Builds an axum service with handlers of each kind, and the limit around it.
async fn start() -> (Server, Count) {
    let count = Count::default();
    let refused = count.refused.clone();
    let layer = BodyLimitLayer::new(LIMIT_BYTES as u64).events(EventSink::to(move |_| {
        refused.fetch_add(1, Relaxed);
    }));
    (
        Server::start(lameduck::Timeouts::none(), layer.layer(router(&count))).await,
        count,
    )
}

fn router(count: &Count) -> Router {
    let calls = count.calls.clone();
    let called = move |request: Request<axum::body::Body>| {
        calls.fetch_add(1, Relaxed);
        request
    };
    Router::new()
        .route("/good", any(async || "good"))
        .route("/ignore", post(async || "ignored"))
        .route("/bytes", post(async |body: Bytes| body.len().to_string()))
        .route("/string", post(async |body: String| body.len().to_string()))
        .route(
            "/json",
            post(async |body: axum::Json<serde_json::Value>| body.0.to_string()),
        )
        .route(
            "/swallow",
            post(async |body: axum::body::Body| match body.collect().await {
                Ok(_) => "read",
                Err(_) => "I do not care",
            }),
        )
        .layer(axum::middleware::map_request(
            move |request: Request<axum::body::Body>| std::future::ready(called(request)),
        ))
}

fn by_length(path: &str, length: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

fn by_chunks(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes()
}

/// Returns `length` bytes in chunks of `each`.
fn chunks(length: usize, each: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = length;
    while left > 0 {
        let now = left.min(each);
        bytes.extend_from_slice(format!("{now:x}\r\n").as_bytes());
        bytes.resize(bytes.len() + now, b'1');
        bytes.extend_from_slice(b"\r\n");
        left -= now;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Sends everything, then reads.
    After,
    /// Reads while it sends.
    Meanwhile,
}

/// Returns the status that a client reads while it goes on sending, until everything is sent or sending fails.
async fn upload(server: &Server, request: &[u8], reading: Reading) -> (Option<u16>, Vec<u8>) {
    let mut stream = server.connect().await.into_stream();
    let mut bytes = Vec::new();
    match reading {
        Reading::After => {
            let sent = stream.write_all(request).await;
            sent.expect("it is read away");
            let _ = stream.read_to_end(&mut bytes).await;
        }
        Reading::Meanwhile => {
            let (mut read, mut write) = stream.split();
            let (_, _) = tokio::join!(write.write_all(request), read.read_to_end(&mut bytes));
        }
    }
    let status = bytes.get(9..12).and_then(|status| {
        let status = std::str::from_utf8(status).ok()?;
        status.parse().ok()
    });
    (status, bytes)
}

async fn all_read_413(path: &str, request: Vec<u8>, reading: Reading) {
    let (server, count) = start().await;
    let (server, request) = (Arc::new(server), Arc::new(request));
    let mut read = 0;
    // Ten at a time.
    for _ in 0..10 {
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let (server, request) = (server.clone(), request.clone());
                tokio::spawn(async move { upload(&server, &request, reading).await })
            })
            .collect();
        for client in clients {
            let (status, bytes) = within(LONG, "an upload", client).await.unwrap();
            assert_eq!(answers(&bytes).len(), 1, "one answer");
            assert!(answers(&bytes)[0].closes(), "{path} {reading:?}");
            read += usize::from(status == Some(413));
        }
    }
    assert_eq!(read, 100, "{path} {reading:?}");
    assert_eq!(count.refused.load(Relaxed), 100, "each is reported once");
    Arc::into_inner(server).unwrap().finish().await;
}

#[tokio::test]
async fn all_clients_that_send_5_mb_then_read_get_413() {
    let mut request = by_length("/bytes", UPLOAD);
    request.resize(request.len() + UPLOAD, b'1');
    all_read_413("/bytes", request, Reading::After).await;
}

#[tokio::test]
async fn all_clients_that_read_while_sending_5_mb_get_413() {
    let mut request = by_length("/bytes", UPLOAD);
    request.resize(request.len() + UPLOAD, b'1');
    all_read_413("/bytes", request, Reading::Meanwhile).await;
}

#[tokio::test]
async fn all_clients_that_send_5_mb_in_chunks_get_413() {
    let mut request = by_chunks("/swallow");
    request.extend(chunks(UPLOAD, 50_001));
    all_read_413("/swallow", request, Reading::After).await;
}

#[tokio::test]
async fn all_clients_that_read_while_sending_chunks_get_axums_413() {
    let mut request = by_chunks("/bytes");
    request.extend(chunks(UPLOAD, 50_001));
    all_read_413("/bytes", request, Reading::Meanwhile).await;
}

#[tokio::test]
async fn axum_extractors_answer_413_and_swallowed_errors_become_413() {
    let (server, count) = start().await;
    for (path, own) in [
        ("/bytes", true),
        ("/string", true),
        ("/json", true),
        ("/swallow", false),
    ] {
        for each in [LIMIT_BYTES + 1, LIMIT_BYTES, 4096, 999] {
            let before = count.refused.load(Relaxed);
            let mut client = server.connect().await;
            client.send(by_chunks(path)).await;
            client.send(chunks(LIMIT_BYTES + 1, each)).await;
            let answer = client.read_response().await;
            assert_eq!(answer.status, 413, "{path}: {answer:?}");
            assert!(answer.complete);
            let ours =
                answer.text() == format!("the request body is larger than {LIMIT_BYTES} bytes\n");
            assert_eq!(ours, !own, "{path}: {answer:?}");
            assert_eq!(count.refused.load(Relaxed), before + 1, "{path}");

            // Bodies as long as the limit, in chunks and by length.
            let mut client = server.connect().await;
            client.send(by_chunks("/bytes")).await;
            client.send(chunks(LIMIT_BYTES, each)).await;
            let answer = client.read_response().await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, LIMIT_BYTES.to_string())
            );
            client.send(by_length("/bytes", LIMIT_BYTES)).await;
            client.send(vec![b'1'; LIMIT_BYTES]).await;
            assert_eq!(client.read_response().await.status, 200);
            assert_eq!(count.refused.load(Relaxed), before + 1);
        }
    }
    server.finish().await;
}

/// The layer stands inside the router, around one route.
#[tokio::test]
async fn layer_fits_inside_a_router() {
    let app = router(&Count::default()).layer(BodyLimitLayer::new(LIMIT_BYTES as u64));
    let server = Server::start(lameduck::Timeouts::none(), app).await;
    for path in ["/bytes", "/swallow"] {
        let mut client = server.connect().await;
        client.send(by_chunks(path)).await;
        client.send(chunks(LIMIT_BYTES + 1, 1000)).await;
        assert_eq!(client.read_response().await.status, 413);
        let mut client = server.connect().await;
        client.send(by_length(path, LIMIT_BYTES + 1)).await;
        assert_eq!(client.read_response().await.status, 413);
    }
    server.finish().await;
}

#[tokio::test]
async fn client_waiting_for_100_continue_gets_413() {
    let (server, count) = start().await;
    let mut client = server.connect().await;
    let head = format!(
        "POST /bytes HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {UPLOAD}\r\n\r\n"
    );
    client.send(head).await;
    let ending = client.read_until_close().await;
    assert_eq!(ending.answer().status, 413, "{}", ending.text());
    assert!(ending.text().starts_with("HTTP/1.1 413"));
    assert_eq!(ending.how, How::Fin);
    assert_eq!(count.calls.load(Relaxed), 0);
    drop(client);

    // A body within the limit gets `100 Continue`.
    let mut client = server.connect().await;
    client
        .send(
            "POST /bytes HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        )
        .await;
    assert_eq!(client.read_response().await.status, 100);
    client.send("abc").await;
    assert_eq!(client.read_response().await.text(), "3");
    drop(client);
    server.finish().await;
}

/// The bytes behind a refused head are a body, whatever they look like; bytes behind that body are not read, because
/// the connection closes.
#[tokio::test]
async fn bytes_after_a_refused_upload_are_no_request() {
    const REQUEST: &str = "POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let (server, count) = start().await;
    for length in [LIMIT_BYTES + 1, 200_000, 300_000, 1_000_000] {
        let body = REQUEST.repeat(length / REQUEST.len() + 1);
        let body = &body.as_bytes()[..length];
        let mut known = by_length("/swallow", length);
        known.extend_from_slice(body);
        let mut chunked = by_chunks("/swallow");
        chunked.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        chunked.extend_from_slice(body);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        for (mut bytes, calls) in [(known, 0), (chunked, 1)] {
            count.calls.store(0, Relaxed);
            bytes.extend_from_slice(REQUEST.repeat(3).as_bytes());
            let mut client = server.connect().await;
            client.send(&bytes).await;
            let ending = client.read_until_close().await;
            assert_eq!(ending.answer().status, 413);
            assert_eq!(count.calls.load(Relaxed), calls, "{length}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn http2_client_reads_the_head_while_it_sends() {
    let (server, count) = start().await;
    let (sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let mut stream_id = 1;
    for length in [Some(UPLOAD.to_string()), None] {
        for path in ["/swallow", "/bytes"] {
            let mut request = Request::post(format!("http://a{path}"));
            if let Some(length) = &length {
                request = request.header("content-length", length);
            }
            let mut ready = sender.clone().ready().await.unwrap();
            let sent = ready.send_request(request.body(()).unwrap(), false);
            let (answer, mut stream) = sent.unwrap();
            let send = async move {
                let mut left = UPLOAD;
                while left > 0 {
                    stream.reserve_capacity(left.min(16_384));
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(room)) => {
                            let now = room.min(left);
                            left -= now;
                            let data = Bytes::from(vec![b'1'; now]);
                            if stream.send_data(data, left == 0).is_err() {
                                break;
                            }
                        }
                        // The server stops the upload.
                        _ => break,
                    }
                }
                left
            };
            let (answer, left) =
                within(LIMIT, "the answer", async { tokio::join!(answer, send) }).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 413, "{path} {length:?}");
            assert_eq!(answer.headers().get("connection"), None);
            assert!(left > 0, "it need not send it all");
            assert!(heard.first(kind::HEADERS, stream_id).is_some());
            stream_id += 2;
        }
    }
    assert_eq!(count.calls.load(Relaxed), 2, "those without a length");
    assert_eq!(count.refused.load(Relaxed), 4);
    assert_eq!(heard.first(kind::GOAWAY, 0), None, "the connection goes on");
    drop(sender);
    connection.abort();
    server.finish().await;
}

#[tokio::test]
async fn grpc_call_is_refused_trailers_only() {
    let (server, _) = start().await;
    let (sender, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    for (stream_id, length) in [(1, Some(LIMIT_BYTES + 1)), (3, None)] {
        let mut request =
            Request::post("http://a/swallow").header("content-type", "application/grpc");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let mut ready = sender.clone().ready().await.unwrap();
        let sent = ready.send_request(request.body(()).unwrap(), false);
        let (answer, mut stream) = sent.unwrap();
        stream
            .send_data(Bytes::from(vec![0; LIMIT_BYTES + 1]), true)
            .unwrap();
        let answer = within(LIMIT, "the answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "8");
        assert_eq!(
            answer.headers()["grpc-message"],
            format!("the request body is larger than {LIMIT_BYTES} bytes")
        );
        assert!(answer.body().is_end_stream());
        let (_, head) = heard.first(kind::HEADERS, stream_id).unwrap();
        assert_eq!(head.flags & 1, 1, "END_STREAM on the head");
    }
    drop(sender);
    connection.abort();
    server.finish().await;
}

#[tokio::test]
async fn tonic_client_gets_resource_exhausted() {
    use tonic::Code;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let (health, service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let service = ServiceBuilder::new()
        .layer(BodyLimitLayer::new(16))
        .service(tonic::service::Routes::new(service));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let server = lameduck::serve(listener, service).shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
    let channel = within(LIMIT, "a channel", endpoint.connect())
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);

    for length in [15, 16, 100, 100_000] {
        let ask = HealthCheckRequest {
            service: "x".repeat(length),
        };
        let refused = within(LIMIT, "an answer", client.check(ask)).await;
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
        // 5 bytes are gRPC's frame header, 2 the field's header.
        let ask = HealthCheckRequest {
            service: "x".repeat(9),
        };
        let unknown = within(LIMIT, "an answer", client.check(ask)).await;
        assert_eq!(unknown.unwrap_err().code(), Code::NotFound, "16 bytes pass");
        let ask = HealthCheckRequest::default();
        let answer = within(LIMIT, "an answer", client.check(ask)).await;
        assert!(answer.is_ok(), "the connection lives");
    }
    drop(client);
    handle.shutdown();
    let report = within(LIMIT, "the report", server).await;
    assert!(report.unwrap().unwrap().is_clean());
}

#[tokio::test]
async fn a_streaming_route_leaves_the_refusal_of_the_others_before_their_handlers() {
    let _events = lameduck::route().streaming();
    let (server, count) = start().await;
    let mut client = server.connect().await;
    let answer = client.ask(by_length("/ignore", LIMIT_BYTES + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(count.calls.load(Relaxed), 0);
    drop(client);
    server.finish().await;
}
