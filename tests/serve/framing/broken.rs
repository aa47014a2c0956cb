//! A failed response is visibly incomplete to its client, and a panic affects only its own request.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::{Connections, RequestBody};
use lameduck::{ConnInfo, Limits, Timeouts};
use tokio::net::TcpListener;

use crate::support::*;

/// Returns half of a body, and then an error or a panic, by the path.
fn breaks(request: &Request<RequestBody>) -> Response<Body> {
    let (mut sender, body) = channel();
    let path = request.uri().path().to_owned();
    tokio::spawn(async move {
        let _ = sender.send_data(Bytes::from_static(b"half of it")).await;
        tokio::time::sleep(ms(30)).await;
        match path.as_str() {
            "/fails" => sender.abort(std::io::Error::other("broke")),
            _ => {
                let _ = sender.send_data(Bytes::from_static(b"panic")).await;
            }
        }
    });
    let panics = |frame: http_body::Frame<Bytes>| {
        if frame.data_ref().is_some_and(|data| &data[..] == b"panic") {
            panic!("as the test wants");
        }
        frame
    };
    Response::new(body.map_frame(panics).boxed_unsync())
}

fn service() -> App {
    app(
        |request: Request<RequestBody>| -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
            match request.uri().path() {
                "/call" => panic!("as the test wants"),
                "/handler" => Box::pin(async { panic!("as the test wants") }),
                "/slow" => Box::pin(async {
                    tokio::time::sleep(ms(300)).await;
                    reply(200, "slow")
                }),
                "/ok" | "/good" => Box::pin(async { reply(200, "ok") }),
                _ => {
                    let response = breaks(&request);
                    Box::pin(async { response })
                }
            }
        },
    )
}

#[tokio::test]
async fn failed_body_is_visibly_incomplete_on_http1() {
    let server = Server::start(Timeouts::default(), service()).await;
    for path in ["/fails", "/panics"] {
        for request in [
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
        ] {
            let mut client = server.connect().await;
            client.send(request).await;
            assert_eq!(client.read_until_close().await.how, How::Reset, "{path}");
        }
        let mut client = server.connect().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let ending = client.read_until_close().await;
        assert!(
            !ending.bytes.ends_with(b"0\r\n\r\n"),
            "{path}: {:?}",
            ending.text()
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn failed_body_is_visibly_incomplete_in_an_own_accept_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Connections::new(Timeouts::default(), Limits::default()).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let info = ConnInfo::new(Some(peer), None);
            tokio::spawn(connections.serve(stream, info, service()));
        }
    });
    for path in ["/fails", "/panics"] {
        let mut client = Raw::connect(addr).await;
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(client.read_until_close().await.how, How::Reset, "{path}");
    }
    let mut client = Raw::connect(addr).await;
    client.send("GET /ok HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.read_until_close().await.how, How::Fin);
}

#[tokio::test]
async fn http2_failure_ends_only_its_stream() {
    let server = Server::start(Timeouts::default(), service()).await;
    let (mut sender, connection, _heard) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    let request = |path: &str| Request::get(format!("http://a{path}")).body(()).unwrap();
    let (slow, _) = sender.send_request(request("/slow"), true).unwrap();
    for path in ["/call", "/handler", "/fails", "/panics"] {
        let (answer, _) = sender.send_request(request(path), true).unwrap();
        let ended = async {
            let mut body = match answer.await {
                Ok(answer) => answer.into_body(),
                Err(error) => return Err(error),
            };
            while let Some(data) = body.data().await {
                data?;
            }
            Ok(())
        };
        let error = within(LIMIT, path, ended).await.expect_err(path);
        assert!(error.is_reset(), "{path}: {error:?}");
    }
    let slow = within(LIMIT, "the other stream", slow)
        .await
        .expect("it is unharmed");
    assert_eq!(slow.status(), 200);
    let panics = server
        .reported()
        .iter()
        .filter(|line| line.contains("the service panicked"))
        .count();
    assert_eq!(panics, 3, "{:?}", server.reported());
}

#[tokio::test]
async fn panic_is_the_reported_close_reason() {
    let server = Server::start(Timeouts::default(), service()).await;
    for path in ["/call", "/handler", "/panics"] {
        let mut client = server.connect().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let _ = client.read_until_close().await;
        server.until_open(0).await;
        let reported = server.reported();
        let closed = reported
            .iter()
            .rfind(|line| line.contains("closed"))
            .unwrap();
        assert!(closed.ends_with(": panicked"), "{path}: {closed}");
        let named = |line: &&String| line.contains("the service panicked") && line.contains(path);
        assert_eq!(
            reported.iter().filter(named).count(),
            1,
            "{path}: {reported:?}"
        );
    }
}
