//! The stack as visible only on the wire: tunnels, and answers without a body.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use lameduck::rate_limit::Quota;
use lameduck::{BodyLimitLayer, Lifecycle, Phase, RateLimitLayer, Stack, TimeoutLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceBuilder;

use crate::support::{LIMIT, Server, Setup, h2_connect, ms, within};

/// Echoes on a tunnel, and otherwise answers `hello`; `/204` has that status.
async fn answer<B>(mut request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("hello"));
    let upgrade = request.headers().contains_key("upgrade");
    if upgrade || request.method() == Method::CONNECT {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await
        });
        response = Response::default();
    }
    if upgrade {
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    } else if let Ok(status) = request.uri().path().trim_start_matches('/').parse() {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn start(stack: Stack) -> Server {
    let service = ServiceBuilder::new()
        .layer(stack)
        .service(tower::service_fn(answer));
    Setup::new().start(service).await
}

/// Returns a stack with every limit that could cut a tunnel: a short timeout to the end of the body, and a small body
/// limit.
fn strict() -> Stack {
    lameduck::stack(&Lifecycle::new())
        .timeout(TimeoutLayer::new(ms(200)).whole_response())
        .body_limit(BodyLimitLayer::new(4))
}

#[tokio::test]
async fn upgraded_connection_has_no_body_limit_or_deadline() {
    let server = start(strict()).await;
    let mut client = server.connect().await;
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status, 101);
    let mut stream = client.into_stream();
    for text in ["more than four bytes", "and after its time"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut came = vec![0; text.len()];
        let read = within(LIMIT, "the echo", stream.read_exact(&mut came)).await;
        read.unwrap();
        assert_eq!(came, text.as_bytes());
        tokio::time::sleep(ms(400)).await;
    }
    drop(stream);
    server.finish().await;
}

#[tokio::test]
async fn http2_tunnel_has_no_body_limit_or_deadline() {
    let server = start(strict()).await;
    let (sender, connection, _heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let connect = Request::connect("db.internal:5432").body(()).unwrap();
    let (answer, mut send) = sender.send_request(connect, false).unwrap();
    let answer = within(LIMIT, "the answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    for text in ["more than four bytes", "and after its time"] {
        send.send_data(Bytes::from(text), false).unwrap();
        let came = within(LIMIT, "the echo", body.data()).await;
        assert_eq!(came.unwrap().unwrap(), text);
        tokio::time::sleep(ms(400)).await;
    }
    drop((send, body, sender));
    connection.abort();
    server.finish().await;
}

/// A body sent after one of these heads would be read as the next answer.
#[tokio::test]
async fn bodiless_answers_send_no_body() {
    let lifecycle = Lifecycle::new();
    let limit = RateLimitLayer::new(Quota::per_hour(8)).unwrap();
    let stack = lameduck::stack(&lifecycle).rate_limit(limit);
    let server = start(stack.body_limit(BodyLimitLayer::new(4))).await;
    let head = |path: &str| format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let get = |path: &str| head(path).replace("HEAD", "GET");
    let close = "connection: close\r\n\r\n";
    let large = head("/").replacen("\r\n\r\n", "\r\ncontent-length: 999999\r\n\r\n", 1);
    for (request, status, length) in [
        (head("/"), 200, Some("5")),
        (get("/204"), 204, None),
        (get("/304"), 304, None),
        (large, 413, Some("40")),
        (get("/"), 200, Some("5")),
        (get("/"), 200, Some("5")),
        (get("/"), 200, Some("5")),
        (get("/"), 200, Some("5")),
        (head("/"), 429, Some("36")),
    ] {
        let mut client = server.connect().await;
        client
            .send(request.replacen("\r\n\r\n", &format!("\r\n{close}"), 1))
            .await;
        let ending = client.read_until_close().await.text();
        let (said, body) = ending.split_once("\r\n\r\n").unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{ending}");
        let has = request.starts_with("GET") && status == 200;
        assert_eq!(body, if has { "hello" } else { "" }, "{said}");
        let declared = said
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(declared, length, "{said}");
    }
    lifecycle.advance(Phase::Draining);
    let mut client = server.connect().await;
    client.send(head("/")).await;
    let ending = client.read_until_close().await.text();
    assert!(
        ending.starts_with("HTTP/1.1 503 ") && ending.ends_with("\r\n\r\n"),
        "{ending}"
    );
}
