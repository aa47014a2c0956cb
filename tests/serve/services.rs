//! Services that are not "always ready".

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::BodyLimitLayer;
use lameduck::serve::RequestBody;
use tokio::time::timeout;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceBuilder, service_fn};

use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: here\r\n\r\n";

/// Each request waits for its turn, and its permit is used and returned: if one were lost, the last would wait for
/// ever.
#[tokio::test]
async fn service_readiness_is_awaited() {
    let slow = service_fn(|_: Request<RequestBody>| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
    });
    let one_at_a_time = ConcurrencyLimitLayer::new(1).layer(slow);
    let server = Setup::new().start(one_at_a_time).await;
    let clients = (0..8).map(|_| {
        let client = server.connect();
        async move {
            let mut client = client.await;
            for _ in 0..5 {
                assert_eq!(client.ask(GET).await.status, 200);
            }
        }
    });
    let all = all_of(clients);
    timeout(Duration::from_secs(5), all).await.unwrap();
    assert!(server.finish().await.is_clean());
}

/// A layer that refuses has made the inner service ready and does not call it. A reservation for that call must not be
/// held while the connection is kept open, or a few idle clients would block everyone.
#[tokio::test]
async fn refused_request_releases_its_reservation() {
    let app = ServiceBuilder::new()
        .layer(BodyLimitLayer::new(4))
        .concurrency_limit(1)
        .service(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }));
    let server = Setup::new().start(app).await;
    let (sender, connection, _heard) = h2_connect(server.addr).await;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a/").header("content-length", "5");
    let mut sender = sender.ready().await.unwrap();
    let (answer, _body) = sender
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let answer = within(LIMIT, "the refusal", answer).await.unwrap();
    assert_eq!(answer.status(), 413);

    let mut another = server.connect().await;
    assert_eq!(another.ask(GET).await.status, 200);
    drop((sender, another));
    connection.abort();
    assert!(server.finish().await.is_clean());
}

/// Waits for all futures at once.
async fn all_of(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        match all.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}
