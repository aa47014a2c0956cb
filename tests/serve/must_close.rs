//! Bodies left unread, late or open: the connection's fate, and its time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::shutdown::ConnectionState;
use tokio::time::Instant;

use crate::support::{
    App, How, LIMIT, Server, app, at_once, channel, h2_connect, ms, reply, within,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const HALF: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

// === what must close ===

#[tokio::test]
async fn unread_body_that_never_ends_has_the_idle_deadline() {
    let server = Server::start(
        Timeouts::none().idle(ms(300)),
        app(|_| async { reply(200, "done") }),
    )
    .await;
    let mut client = server.connect().await;
    assert!(!client.ask(HALF).await.closes());
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    server.until_open(0).await;
}

/// The deadline passes after the answer's head was sent, and no one reads the body again.
#[tokio::test]
async fn late_body_closes_the_connection_behind_an_answer_that_had_begun() {
    let server = Server::start(
        Timeouts::none().read(ms(200)),
        app(|request: Request<RequestBody>| async move {
            let body = request.into_body();
            let (mut sender, answer) = channel();
            tokio::spawn(async move {
                sender
                    .send_data(Bytes::from_static(b"begun, "))
                    .await
                    .unwrap();
                tokio::time::sleep(ms(500)).await;
                drop(body);
                sender.send_data(Bytes::from_static(b"done")).await.unwrap();
            });
            Response::new(answer)
        }),
    )
    .await;
    let mut client = server.connect().await;
    client.send(HALF).await;
    tokio::time::sleep(ms(350)).await;
    client.send("rest.!").await;
    assert_eq!(client.read_response().await.text(), "begun, done");
    let _ = client.try_send(GET).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert_eq!(ending.answers().len(), 0, "{:?}", ending.text());
}

#[tokio::test]
async fn body_of_unknown_length_that_was_dropped_early_and_goes_on_closes_with_its_answer() {
    let server = Server::start(
        Timeouts::none(),
        app(|request: Request<RequestBody>| async move {
            drop(request);
            tokio::time::sleep(ms(200)).await;
            reply(200, "done")
        }),
    )
    .await;
    let mut client = server.connect().await;
    let answer = client.ask(format!("{CHUNKED}5\r\nhello\r\n")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(client.read_until_close().await.how, How::Fin);
}

#[tokio::test]
async fn complete_body_of_unknown_length_keeps_the_connection() {
    for wait in [Duration::ZERO, ms(100)] {
        let server = Server::start(
            Timeouts::none(),
            app(move |request: Request<RequestBody>| async move {
                drop(request);
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                reply(200, "done")
            }),
        )
        .await;
        let mut client = server.connect().await;
        for _ in 0..3 {
            let answer = client
                .ask(format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"))
                .await;
            assert_eq!(answer.status, 200);
            assert!(!answer.closes(), "{answer:?}");
        }
        drop(client);
        server.finish().await;
    }
}

/// The handler reads the first piece, and answers before the next one is polled.
#[tokio::test]
async fn received_rest_of_a_body_of_unknown_length_keeps_the_connection() {
    let server = Server::start(
        Timeouts::none(),
        app(|mut request: Request<RequestBody>| async move {
            let piece = request.body_mut().frame().await;
            assert!(matches!(piece, Some(Ok(_))), "{piece:?}");
            reply(200, "done")
        }),
    )
    .await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let chunks = "5\r\nhello\r\n".repeat(3);
        let answer = client.ask(format!("{CHUNKED}{chunks}0\r\n\r\n")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.closes(), "{answer:?}");
    }
}

#[tokio::test]
async fn write_deadline_ends_with_the_answer() {
    let server = Server::start(
        Timeouts::none().write(ms(200)),
        app(|_| async { reply(200, "done") }),
    )
    .await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(HALF).await.status, 200);
    // The rest of the body is being discarded meanwhile.
    tokio::time::sleep(ms(600)).await;
    client.send("rest.!").await;
    assert_eq!(client.ask(GET).await.status, 200);
}

// === the lingering close ===

#[tokio::test]
async fn close_after_a_timeout_lingers_half_a_second() {
    let server = Server::start(
        Timeouts::none().read(ms(200)),
        app(|request: Request<RequestBody>| async move {
            match request.into_body().collect().await {
                Ok(_) => reply(200, "whole"),
                Err(_) => reply(408, "too slow"),
            }
        }),
    )
    .await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n")
        .await;
    let began = Instant::now();
    let slow = async {
        // The client is never silent for long, so that only the total time ends the wait.
        while client.try_send("x").await.is_ok() && began.elapsed() < LIMIT {
            tokio::time::sleep(ms(100)).await;
        }
    };
    let closed = async {
        server.until_open(1).await;
        server.until_open(0).await;
        began.elapsed()
    };
    let (_, took) = tokio::join!(slow, closed);
    assert!(ms(600) < took && took < ms(2_500), "{took:?}");
}

#[tokio::test]
async fn lingering_close_reads_a_bounded_amount() {
    let server = Server::start(Timeouts::none(), app(|_| async { reply(413, "no") })).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n")
        .await;
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < 128 && client.try_send(&piece).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 96, "{sent} MiB were read away");
}

// === a body that is read on another task ===

/// Reads half a body in another task than the request's, late. Returns when the wait ended, on HTTP/1 and on HTTP/2.
async fn read_elsewhere(timeouts: Timeouts, set: fn(&Deadlines)) -> [Duration; 2] {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let server = Server::start(
        timeouts,
        app(move |request: Request<RequestBody>| {
            let ended = ended.clone();
            async move {
                let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
                tokio::spawn(async move {
                    tokio::time::sleep(ms(100)).await;
                    set(&deadlines);
                    let read = request.into_body().collect().await;
                    ended.send(read.is_ok()).await.unwrap();
                });
                std::future::pending().await
            }
        }),
    )
    .await;
    let mut client = server.connect().await;
    client.send(HALF).await;
    assert!(!within(LIMIT, "an end on HTTP/1", end.recv()).await.unwrap());
    let http1 = client.elapsed();

    let (mut sender, connection, heard) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    let request = Request::post("http://a/").body(()).unwrap();
    let (_answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    assert!(!within(LIMIT, "an end on HTTP/2", end.recv()).await.unwrap());
    [http1, heard.elapsed()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reader_on_another_task_is_woken_by_its_deadlines() {
    for _ in 0..4 {
        for took in read_elsewhere(Timeouts::none().read(ms(300)), |_| {}).await {
            assert!(took >= ms(290), "read: {took:?}");
        }
        for took in read_elsewhere(Timeouts::none().read_stall(ms(300)), |_| {}).await {
            assert!(took >= ms(390), "read_stall: {took:?}");
        }
        let sooner = |deadlines: &Deadlines| deadlines.set_read(ms(100));
        for took in read_elsewhere(Timeouts::none().read(LIMIT), sooner).await {
            assert!(took < ms(3_000), "moved: {took:?}");
        }
    }
}

/// The answer was sent, and another task still reads the body: its end makes the connection idle.
#[tokio::test]
async fn end_of_a_body_on_another_task_is_noticed() {
    let app = app(|request: Request<RequestBody>| async move {
        tokio::spawn(async move {
            tokio::time::sleep(ms(200)).await;
            request.into_body().collect().await.unwrap();
        });
        reply(200, "done")
    });
    let (mut client, handle) = at_once(app).await;
    assert!(!client.ask(format!("{HALF}rest.!")).await.closes());
    let idle = async {
        while handle.connections().of(ConnectionState::Idle) == 0 {
            tokio::time::sleep(ms(5)).await;
        }
    };
    within(LIMIT, "an idle connection", idle).await;
}

// === a reader that waits, and one that has gone on ===

/// The handler polls its body, does something else for a while, and polls again.
#[tokio::test]
async fn read_stall_counts_only_while_the_body_is_waited_for() {
    let server = Server::start(
        Timeouts::none().read_stall(ms(300)),
        app(|request: Request<RequestBody>| async move {
            let mut body = request.into_body();
            let mut read = 0;
            loop {
                match tokio::time::timeout(ms(50), body.frame()).await {
                    Ok(Some(Ok(piece))) => read += piece.data_ref().map_or(0, Bytes::len),
                    Ok(Some(Err(_))) => return reply(408, "too slow"),
                    Ok(None) => return reply(200, read.to_string()),
                    Err(_) => tokio::time::sleep(ms(700)).await,
                }
            }
        }),
    )
    .await;
    let http1 = async {
        let mut client = server.connect().await;
        client.send(HALF).await;
        tokio::time::sleep(ms(550)).await;
        client.send("rest.!").await;
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "10"));
        assert_eq!(client.ask(format!("{HALF}rest.!")).await.status, 200);
    };
    let http2 = async {
        let (mut sender, connection, _) = h2_connect(server.addr).await;
        tokio::spawn(connection);
        let request = Request::post("http://a/").body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(ms(550)).await;
        body.send_data(Bytes::from_static(b"rest.!"), true).unwrap();
        let answer = within(LIMIT, "an answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    tokio::join!(http1, http2);
    let reported = server.reported();
    assert!(
        !reported.iter().any(|event| event.contains("read_stall")),
        "{reported:?}"
    );
}

#[tokio::test]
async fn body_that_came_in_time_is_not_late_for_a_late_reader() {
    let server = Server::start(
        Timeouts::none().read(ms(300)),
        app(|request: Request<RequestBody>| async move {
            tokio::time::sleep(ms(600)).await;
            match request.into_body().collect().await {
                Ok(body) => reply(200, body.to_bytes()),
                Err(_) => reply(408, "too slow"),
            }
        }),
    )
    .await;
    let (mut sender, connection, _) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    for (end, status) in [(true, 200), (false, 408)] {
        let request = Request::post("http://a/").body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"came"), end).unwrap();
        let answer = within(LIMIT, "an answer", answer).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

// === HTTP/2: the last stream wakes its connection ===

/// A body whose end takes a while: the connection's thread has written it and is idle again when its stream's task
/// ends.
struct SlowToEnd(Option<&'static str>);

impl http_body::Body for SlowToEnd {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        let bytes = self
            .0
            .take()
            .map(|text| Bytes::from_static(text.as_bytes()));
        Poll::Ready(bytes.map(http_body::Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for SlowToEnd {
    fn drop(&mut self) {
        std::thread::sleep(ms(30));
    }
}

fn slow_to_end(text: Option<&'static str>) -> App {
    app(move |_| async move { Response::new(SlowToEnd(text).boxed_unsync()) })
}

/// Each connection has one request, and then the idle deadline; its stream ends on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn last_stream_of_a_connection_leaves_it_idle() {
    let server = Server::start(Timeouts::none().idle(ms(300)), slow_to_end(None)).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let addr = server.addr;
        clients.spawn(async move {
            let (mut sender, connection, _) = h2_connect(addr).await;
            let connection = tokio::spawn(connection);
            let request = Request::get("http://a/").body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(
                within(LIMIT, "an answer", answer).await.unwrap().status(),
                200
            );
            // The idle deadline sends the GOAWAY; the client does not close.
            let _ = within(LIMIT, "the connection's end", connection).await;
            drop(sender);
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    server.until_open(0).await;
}

/// The end of the response is in h2, because the client's window is closed: its stream's task is done, and the
/// connection keeps its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn end_of_an_unread_response_has_its_deadline() {
    let server = Server::start(
        Timeouts::none().write(ms(300)),
        slow_to_end(Some("more than ten bytes")),
    )
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let addr = server.addr;
        clients.spawn(async move {
            let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let mut client = h2::client::Builder::new();
            client.initial_window_size(10);
            let handshake = client.handshake::<_, Bytes>(stream).await;
            let (mut sender, connection) = handshake.unwrap();
            let connection = tokio::spawn(connection);
            let request = Request::get("http://a/").body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            let answer = within(LIMIT, "an answer", answer).await.unwrap();
            // The body is not read, so the window stays closed.
            let _ = within(LIMIT, "the connection's end", connection).await;
            drop(answer);
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    server.until_open(0).await;
}
