//! Requests that end early: clients that vanish, handlers that panic, deadlines that pass, futures and bodies that are
//! dropped anywhere. Every count returns to 0.

mod deadlines;
mod random;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use lameduck::in_flight::InFlightHandle;
use lameduck::serve::RequestBody;
use lameduck::{InFlightLayer, Limits};
use tower::Layer;

use crate::support::{App, How, LIMIT, Raw, Setup, app, channel, ms, reply, within};

const GET: &str = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";

/// A counter of live values.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one(&self) -> One {
        self.0.fetch_add(1, Relaxed);
        One(self.0.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Relaxed)
    }

    async fn until(&self, count: usize) {
        let reached = async {
            while self.now() != count {
                tokio::time::sleep(ms(2)).await;
            }
        };
        within(
            LIMIT,
            &format!("{count} of them, not {}", self.now()),
            reached,
        )
        .await;
    }
}

struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn counted(app: App) -> (impl lameduck::serve::App, InFlightHandle) {
    let layer = InFlightLayer::new();
    let handle = layer.handle();
    (layer.layer(app), handle)
}

/// Builds a service that reads its request's body, or sends an endless one.
fn reading_or_writing(handlers: &Count) -> App {
    let handlers = handlers.clone();
    app(move |request: Request<RequestBody>| {
        let one = handlers.one();
        async move {
            match request.uri().path() {
                "/read" => match request.into_body().collect().await {
                    Ok(body) => reply(200, body.to_bytes()),
                    Err(_) => reply(400, "it broke off"),
                },
                "/wait" => {
                    tokio::time::sleep(ms(150)).await;
                    reply(200, "done")
                }
                "/endless" => {
                    let (mut sender, body) = channel();
                    tokio::spawn(async move {
                        let _one = one;
                        while sender.send_data(Bytes::from(vec![7; 4096])).await.is_ok() {
                            tokio::time::sleep(ms(5)).await;
                        }
                    });
                    Response::new(body)
                }
                _ => reply(200, "good"),
            }
        }
    })
}

// === clients that vanish ===

/// Closes a connection in order, or by a reset.
fn vanish(client: Raw, reset: bool) {
    let stream = client.into_stream();
    if reset {
        stream.set_zero_linger().unwrap();
    }
    drop(stream);
}

#[tokio::test]
async fn client_vanishes_during_its_body() {
    for reset in [false, true] {
        for head in [
            "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
            "POST /read HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "POST /wait HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        ] {
            let handlers = Count::default();
            let (app, in_flight) = counted(reading_or_writing(&handlers));
            let server = Setup::new().start(app).await;
            let mut client = server.connect().await;
            client.send(head).await;
            handlers.until(1).await;
            assert_eq!(in_flight.count(), 1);
            vanish(client, reset);
            within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
            server.until_open(0).await;
            assert_eq!(handlers.now(), 0);
            server.finish().await;
        }
    }
}

#[tokio::test]
async fn client_vanishes_during_the_response() {
    for reset in [false, true] {
        let handlers = Count::default();
        let (app, in_flight) = counted(reading_or_writing(&handlers));
        let server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client
            .send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        client.stream().readable().await.unwrap();
        assert_eq!(in_flight.count(), 1);
        vanish(client, reset);
        within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
        server.until_open(0).await;
        handlers.until(0).await;
        server.finish().await;
    }
}

#[tokio::test]
async fn client_that_vanishes_in_a_drain_delays_no_one() {
    for request in [
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let handlers = Count::default();
        let (app, in_flight) = counted(reading_or_writing(&handlers));
        let mut server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client.send(request).await;
        handlers.until(1).await;
        server.handle.drain_now();
        tokio::time::sleep(ms(50)).await;
        assert_eq!(in_flight.count(), 1);
        vanish(client, true);
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(800), "{report}");
        assert_eq!(in_flight.count(), 0);
    }
}

#[tokio::test]
async fn client_that_is_done_sending_gets_its_answer() {
    let server = Setup::new()
        .start(reading_or_writing(&Count::default()))
        .await;
    for request in [
        "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ndone",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        client.finish_sending().await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.how, How::Fin);
        let answer = ending.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    }
    server.finish().await;
}

// === handlers that panic ===

#[tokio::test]
async fn panic_ends_its_connection_and_not_the_service() {
    let app = app(|request: Request<RequestBody>| {
        if request.uri().path() == "/call" {
            panic!("in the call, as it should");
        }
        async move {
            match request.uri().path() {
                "/future" => panic!("in the future, as it should"),
                "/later" => {
                    tokio::time::sleep(ms(20)).await;
                    panic!("later, as it should");
                }
                "/body" => {
                    let mut left = 2;
                    let body = http_body_util::StreamBody::new(tokio_stream::iter(
                        std::iter::from_fn(move || {
                            assert!(left > 0, "in the body, as it should");
                            left -= 1;
                            Some(Ok::<_, std::io::Error>(Frame::data(Bytes::from("piece"))))
                        }),
                    ));
                    Response::new(body.boxed_unsync())
                }
                _ => reply(200, "good"),
            }
        }
    });
    let (app, in_flight) = counted(app);
    // The limit is one connection at a time: a panic frees its place.
    let limits = Limits::default().max_connections(1);
    let server = Setup::new().limits(limits).start(app).await;
    for path in ["/call", "/future", "/later", "/body"] {
        for body in ["", "a body that is not read"] {
            let mut client = server.connect().await;
            assert_eq!(client.ask(GET).await.status, 200);
            let length = body.len() + 5;
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            client.send(head + body).await;
            let ending = client.read_until_close().await;
            assert_ne!(ending.how, How::StillOpen, "{path}");
            if path == "/body" {
                assert!(
                    !ending.text().ends_with("0\r\n\r\n"),
                    "it does not look whole"
                );
            } else {
                assert!(ending.bytes.is_empty(), "{path}: {ending:?}");
            }
            within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
        }
    }
    server.until_open(0).await;
    assert!(in_flight.requests().is_empty());
    server.finish().await;
}
