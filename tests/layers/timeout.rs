//! The timeout layer over the wire: HTTP/1, HTTP/2 and gRPC, through `serve`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::channel::Sender;
use lameduck::serve::RequestBody;
use lameduck::timeout::RouteTimeout;
use lameduck::{TimeoutLayer, Timeouts};
use tokio::sync::Notify;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;

use crate::support::{How, LIMIT, Server, app, channel, h2_connect, kind, ms, reply, within};

const AFTER: Duration = Duration::from_millis(150);

/// Builds a service: `/never` has no answer, `/read` none after it has read the body, `/stream` an endless answer,
/// `/grpc` one in gRPC; all else is answered.
async fn server(layer: TimeoutLayer) -> Server {
    let service = ServiceBuilder::new().layer(layer).service(app(answer));
    Server::start(Timeouts::none(), service).await
}

async fn answer(request: Request<RequestBody>) -> Response<crate::support::Body> {
    match request.uri().path() {
        "/never" => std::future::pending().await,
        "/read" => {
            request.into_body().collect().await.expect("the body");
            std::future::pending().await
        }
        "/stream" | "/grpc" => {
            let grpc = request.uri().path() == "/grpc";
            let (mut sender, body) = channel();
            sender.send_data("hello".into()).await.expect("room");
            tokio::spawn(hold(sender));
            let mut response = Response::new(body);
            if grpc {
                let headers = response.headers_mut();
                headers.insert("content-type", "application/grpc".parse().unwrap());
            }
            response
        }
        _ => reply(200, "good"),
    }
}

/// Keeps a body open longer than any test.
async fn hold(sender: Sender<Bytes, std::io::Error>) {
    tokio::time::sleep(LIMIT * 2).await;
    drop(sender);
}

fn h2_request(server: &Server, path: &str) -> Request<()> {
    let uri = format!("http://{}{path}", server.addr);
    Request::get(uri).body(()).unwrap()
}

fn grpc_request(server: &Server, path: &str, timeout: &str) -> Request<()> {
    let uri = format!("http://{}{path}", server.addr);
    let request = Request::post(uri).header("content-type", "application/grpc");
    let request = request.header("te", "trailers");
    request.header("grpc-timeout", timeout).body(()).unwrap()
}

#[tokio::test]
async fn http1_connection_continues_after_a_503() {
    let server = server(TimeoutLayer::new(AFTER)).await;
    let mut client = server.connect().await;
    let read = "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    for request in [read, "GET /never HTTP/1.1\r\nhost: a\r\n\r\n", read] {
        client.mark();
        let answer = client.ask(request).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.text(), "the request took too long\n");
        assert!(!answer.closes(), "{answer:?}");
        assert!(client.elapsed() >= AFTER, "{:?}", client.elapsed());
        let good = client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((good.status, good.text().as_str()), (200, "good"));
    }
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn gateway_answers_504_and_json_on_request() {
    let server = server(TimeoutLayer::new(AFTER).gateway()).await;
    let mut client = server.connect().await;
    let asked = "GET /never HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n";
    let answer = client.ask(asked).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn late_http1_body_is_visibly_incomplete() {
    let server = server(TimeoutLayer::new(AFTER).whole_response()).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let ending = client.read_until_close().await;
    assert!(ending.at >= AFTER && ending.at < LIMIT, "{ending:?}");
    let answer = ending.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "hello", "what there was came");
    assert!(!answer.complete, "and is not taken for all: {ending:?}");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn head_timeout_does_not_limit_the_body() {
    let server = server(TimeoutLayer::new(AFTER)).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let ending = client.read_until_close_for(AFTER * 4).await;
    assert_eq!(ending.how, How::StillOpen, "{ending:?}");
}

#[tokio::test]
async fn late_http2_body_resets_only_its_stream() {
    let layer = TimeoutLayer::new(AFTER).whole_response();
    let layer = layer.per_request(|head| (head.uri.query() == Some("off")).then(RouteTimeout::off));
    let server = server(layer).await;
    let (mut client, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let ask = |path: &str| h2_request(&server, path);

    let (cut, _) = client.send_request(ask("/stream"), true).unwrap();
    let (kept, _) = client.send_request(ask("/stream?off"), true).unwrap();
    let (late, _) = client.send_request(ask("/never"), true).unwrap();
    let mut cut = within(LIMIT, "a head", cut).await.unwrap().into_body();
    let mut kept = within(LIMIT, "a head", kept).await.unwrap().into_body();
    let late = within(LIMIT, "a head", late).await.unwrap();
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);

    assert_eq!(
        within(LIMIT, "data", cut.data()).await.unwrap().unwrap(),
        "hello"
    );
    let error = within(LIMIT, "the reset", cut.data())
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.is_reset(), "{error}");
    let (at, _) = heard.until(kind::RST_STREAM, 1).await;
    assert!(at >= AFTER, "{at:?}");
    assert_eq!(
        within(LIMIT, "data", kept.data()).await.unwrap().unwrap(),
        "hello"
    );
    assert!(
        tokio::time::timeout(AFTER, kept.data()).await.is_err(),
        "it is open"
    );
    let (good, _) = client.send_request(ask("/"), true).unwrap();
    assert_eq!(
        within(LIMIT, "an answer", good).await.unwrap().status(),
        200
    );
    assert!(heard.first(kind::RST_STREAM, 3).is_none());
    assert!(heard.first(kind::RST_STREAM, 5).is_none());
    assert!(heard.first(kind::GOAWAY, 0).is_none());
    drop((kept, client));
    connection.abort();
}

#[tokio::test]
async fn late_grpc_call_gets_trailers_only() {
    let server = server(TimeoutLayer::new(LIMIT)).await;
    let (mut client, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let request = grpc_request(&server, "/never", "150m");
    let (answer, _) = client.send_request(request, true).unwrap();
    let answer = within(LIMIT, "an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert!(answer.body().is_end_stream());
    let (at, head) = heard.until(kind::HEADERS, 1).await;
    assert_eq!(head.flags & 1, 1, "END_STREAM is on the head: {head:?}");
    assert!(at >= AFTER, "{at:?}");
    let reported = server.reported();
    assert!(
        reported.iter().all(|event| !event.contains("timeout")),
        "{reported:?}"
    );
    drop(client);
    connection.abort();
    server.finish().await;
}

#[tokio::test]
async fn late_grpc_body_ends_with_trailers() {
    let server = server(TimeoutLayer::new(AFTER).whole_response()).await;
    let (mut client, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let request = grpc_request(&server, "/grpc", "8S");
    let (answer, _) = client.send_request(request, true).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    assert!(answer.headers().get("grpc-status").is_none());
    let mut body = answer.into_body();
    assert_eq!(
        within(LIMIT, "data", body.data()).await.unwrap().unwrap(),
        "hello"
    );
    assert!(within(LIMIT, "the end", body.data()).await.is_none());
    let trailers = within(LIMIT, "trailers", body.trailers())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(trailers["grpc-message"], "the request took too long");
    assert!(heard.first(kind::RST_STREAM, 1).is_none());
    drop((body, client));
    connection.abort();
    server.finish().await;
}

/// Builds the health service, with a check that has no answer.
#[derive(Clone)]
struct Stuck(Arc<Notify>);

type Check = HealthCheckResponse;

#[tonic::async_trait]
impl Health for Stuck {
    type WatchStream = tokio_stream::Empty<Result<Check, Status>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Check>, Status> {
        let _left = Left(self.0.clone());
        std::future::pending().await
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Ok(tonic::Response::new(tokio_stream::empty()))
    }
}

/// A guard that reports when its handler is dropped.
struct Left(Arc<Notify>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn stuck(layer: TimeoutLayer) -> (Server, Arc<Notify>) {
    let left = Arc::new(Notify::new());
    let routes = tonic::service::Routes::new(HealthServer::new(Stuck(left.clone())));
    let service = ServiceBuilder::new().layer(layer).service(routes);
    (Server::start(Timeouts::none(), service).await, left)
}

/// Sends a call of tonic's over a plain HTTP/2 connection: tonic's own channel would enforce `grpc-timeout` too, and
/// give up at the same moment.
async fn over_h2(
    mut client: h2::client::SendRequest<Bytes>,
    request: Request<tonic::body::Body>,
) -> Result<Response<tonic::body::Body>, h2::Error> {
    let (head, body) = request.into_parts();
    let (answer, mut stream) = client.send_request(Request::from_parts(head, ()), false)?;
    let body = body.collect().await.expect("a message").to_bytes();
    stream.send_data(body, true)?;
    let (head, mut body) = answer.await?.into_parts();
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        whole.extend(data?);
    }
    let trailers = body.trailers().await?.map(Ok);
    let body =
        http_body_util::Full::<Bytes>::from(whole).with_trailers(std::future::ready(trailers));
    Ok(Response::from_parts(head, tonic::body::Body::new(body)))
}

#[tokio::test]
async fn server_keeps_the_timeout_of_tonics_client() {
    let (server, left) = stuck(TimeoutLayer::new(LIMIT)).await;
    let (client, connection, heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let origin = format!("http://{}", server.addr).parse().unwrap();
    let service = tower::service_fn(move |request| over_h2(client.clone(), request));
    let mut client = HealthClient::with_origin(service, origin);
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.set_timeout(AFTER);
    let answer = within(LIMIT, "an answer", client.check(request)).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(status.message(), "the request took too long");
    assert!(heard.elapsed() >= AFTER, "{:?}", heard.elapsed());
    within(LIMIT, "the handler's end", left.notified()).await;
    connection.abort();
}

#[tokio::test]
async fn server_timeout_is_deadline_exceeded_for_tonics_channel() {
    let (server, left) = stuck(TimeoutLayer::new(AFTER)).await;
    let uri = format!("http://{}", server.addr);
    let channel = tonic::transport::Endpoint::from_shared(uri).unwrap();
    let channel = within(LIMIT, "a connection", channel.connect())
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    for client_has in [None, Some(LIMIT)] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(time) = client_has {
            request.set_timeout(time);
        }
        let answer = within(LIMIT, "an answer", client.check(request)).await;
        assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
        within(LIMIT, "the handler's end", left.notified()).await;
    }
}

#[tokio::test]
async fn axum_route_has_its_own_timeout_by_matched_path() {
    use axum::extract::{MatchedPath, Path};
    use axum::{Router, routing::get};
    async fn wait(Path(wait): Path<u64>) -> &'static str {
        tokio::time::sleep(ms(wait)).await;
        "good"
    }
    let layer = TimeoutLayer::new(AFTER).per_request(|head| {
        let path = head.extensions.get::<MatchedPath>()?;
        (path.as_str() == "/slow/{wait}").then_some(RouteTimeout::after(LIMIT))
    });
    let router = Router::new()
        .route("/slow/{wait}", get(wait))
        .route("/{wait}", get(wait))
        .route("/good", get(|| async { "good" }))
        .layer(layer.whole_response());
    let server = Server::start(Timeouts::none(), router).await;
    let mut client = server.connect().await;
    for (path, status) in [("/slow/400", 200), ("/5000", 503), ("/1", 200)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.ask(request).await.status, status, "{path}");
    }
    drop(client);
    server.finish().await;
}
