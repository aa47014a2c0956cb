//! Cases that need two threads, two tasks, two servers or an unlucky moment.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use lameduck::events::EventSink;
use lameduck::serve::{Deadlines, RequestBody, serve_connection_with_timeouts};
use lameduck::{Lifecycle, Limits, Phase, Shutdown, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::support::{
    App, How, LIMIT, Odd, Raw, Server, Setup, WriteSide, app, at_once, empty, h2_connect, ms,
    reply, within,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

// === two tasks ===

/// A service that answers `/read` and `/drop` while a task of its own still has the body, and does with it what the
/// path says once it may.
fn body_elsewhere(let_go: &Arc<Semaphore>) -> App {
    let let_go = let_go.clone();
    app(move |request: Request<RequestBody>| {
        let let_go = let_go.clone();
        async move {
            let reads = match request.uri().path() {
                "/read" => true,
                "/drop" => false,
                _ => return reply(200, "next"),
            };
            let mut body = request.into_body();
            if reads {
                // hyper reads what is asked for, and has no one to wake.
                let mut no_one = Context::from_waker(Waker::noop());
                let asked = http_body::Body::poll_frame(Pin::new(&mut body), &mut no_one);
                assert!(asked.is_pending());
            }
            tokio::spawn(async move {
                let_go.acquire().await.unwrap().forget();
                if reads {
                    let _ = body.collect().await;
                }
            });
            reply(200, "first")
        }
    })
}

/// Sends a request whose body outlives its answer, and the next one; that is answered once the body has ended.
async fn next_begins_behind(path: &str) {
    let let_go = Arc::new(Semaphore::new(0));
    let (mut client, _) = at_once(body_elsewhere(&let_go)).await;
    let post = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.ask(post).await.text(), "first");
    client
        .send("helloGET /next HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    // Until the server has read what it reads by itself, and the socket wakes it no more.
    tokio::time::sleep(ms(200)).await;
    let_go.add_permits(1);
    assert_eq!(client.read_response().await.text(), "next");
}

#[tokio::test]
async fn body_read_on_another_task_lets_the_next_request_begin() {
    next_begins_behind("/read").await;
}

#[tokio::test]
async fn body_dropped_on_another_task_lets_the_next_request_begin() {
    next_begins_behind("/drop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_set_on_another_task_holds_at_once() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
        tokio::spawn(async move {
            // The connection waits by now, without any deadline.
            tokio::time::sleep(ms(100)).await;
            deadlines.set_read_stall(ms(50));
        });
        let read = request.into_body().collect().await;
        reply(if read.is_err() { 408 } else { 200 }, "")
    });
    let server = Server::start(Timeouts::none(), app).await;
    let mut client = server.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(client.ask(head).await.status, 408);
}

#[tokio::test]
async fn deadlines_handle_of_an_ended_request_does_not_affect_the_next_head() {
    let kept = Arc::new(Mutex::new(None::<Deadlines>));
    let keep = kept.clone();
    let app = app(move |request: Request<RequestBody>| {
        let keep = keep.clone();
        async move {
            if request.uri().path() == "/" {
                let deadlines = request.extensions().get::<Deadlines>().cloned();
                *keep.lock().unwrap() = deadlines;
            }
            let read = request.into_body().collect().await.is_ok();
            reply(if read { 200 } else { 408 }, "")
        }
    });
    let timeouts = Timeouts::none().read(ms(300));
    let server = Server::start(timeouts, app).await;
    let mut client = server.connect().await;
    // The second request finds the connection warm, and it stays so.
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(client.ask(GET).await.status, 200);
    client.send("POST /second HTTP/1.1\r\nhost: a\r\n").await;
    tokio::time::sleep(ms(50)).await;
    kept.lock().unwrap().take().unwrap().set_read(None);
    client.send("content-length: 9\r\n\r\nhalf").await;
    let ending = client.read_until_close_for(ms(2_000)).await;
    assert_ne!(ending.how, How::StillOpen, "{}", ending.text());
}

#[tokio::test]
async fn ended_connection_is_closed_while_its_future_lives() {
    let app = app(|_| async { reply(200, "") });
    let timeouts = Timeouts::none().idle(ms(50)).read_header(ms(50));
    let hello = [&b""[..], b"GET", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for said in hello {
        let (mut client, io) = duplex(1024);
        let connection = serve_connection_with_timeouts(io, app.clone(), timeouts).unwrap();
        let mut connection = std::pin::pin!(connection);
        client.write_all(said).await.unwrap();
        within(LIMIT, "its end", connection.as_mut()).await;
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest);
        within(ms(500), "the close", end).await.unwrap();
    }
}

#[tokio::test]
async fn connection_may_move_to_another_task() {
    let (moved, has_moved) = oneshot::channel::<()>();
    let has_moved = Arc::new(Mutex::new(Some(has_moved)));
    let app = tower::service_fn(move |request: Request<RequestBody>| {
        let has_moved = has_moved.lock().unwrap().take();
        async move {
            let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
            if let Some(has_moved) = has_moved {
                tokio::spawn(async move {
                    let _ = has_moved.await;
                    deadlines.set_write(ms(1));
                });
            }
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(empty()))
        }
    });
    let (mut client, io) = duplex(1024);
    let connection = serve_connection_with_timeouts(io, app, Timeouts::none()).unwrap();
    let mut connection = Box::pin(connection);
    client.write_all(GET.as_bytes()).await.unwrap();
    let first = tokio::time::timeout(ms(50), connection.as_mut());
    assert!(first.await.is_err(), "the handler hangs");
    let task = tokio::spawn(connection);
    tokio::task::yield_now().await;
    moved.send(()).unwrap();
    within(ms(2_000), "the deadline", task).await.unwrap();
}

/// A write side that does not close at once, as that of TLS.
struct SlowToClose(Option<Pin<Box<tokio::time::Sleep>>>);

impl WriteSide for SlowToClose {
    fn shutdown(
        &mut self,
        io: Pin<&mut DuplexStream>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let closing = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(ms(30))));
        ready!(closing.as_mut().poll(cx));
        io.poll_shutdown(cx)
    }
}

#[tokio::test]
async fn slowly_closing_transport_is_closed() {
    let (mut client, io) = duplex(4096);
    let odd = SlowToClose(None);
    let io = Odd { io, odd };
    let app = app(|_| async { reply(200, "done") });
    let connection = serve_connection_with_timeouts(io, app, Timeouts::none()).unwrap();
    tokio::spawn(connection);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let end = client.read_to_end(&mut answer);
    within(ms(1_000), "the close", end).await.unwrap();
    assert!(answer.ends_with(b"done"));
}

/// A body whose first read begins the drain.
struct Drains(Option<Lifecycle>);

impl http_body::Body for Drains {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if let Some(lifecycle) = self.0.take() {
            lifecycle.advance(Phase::Draining);
        }
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn drain_between_pipelined_requests_loses_none() {
    for last in 28..38 {
        let count = Arc::new(AtomicUsize::new(0));
        let lifecycle = Arc::new(Mutex::new(None::<Lifecycle>));
        let (counts, leaves) = (count.clone(), lifecycle.clone());
        let app = tower::service_fn(move |_: Request<RequestBody>| {
            let number = counts.fetch_add(1, Relaxed) + 1;
            let lifecycle = leaves.lock().unwrap().clone();
            let body = Drains(lifecycle.filter(|_| number == last));
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let server = Setup::new().start(app).await;
        *lifecycle.lock().unwrap() = Some(server.handle.lifecycle().clone());
        let mut client = server.connect().await;
        let long = "x".repeat(18_000);
        let mut requests = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
        (0..2_000).for_each(|_| requests.push_str(GET));
        client.send(requests).await;
        let ending = client.read_until_close().await;
        let answers = ending.answers();
        assert_eq!(answers.len(), last + 1, "{last}");
        assert!(answers[last].closes(), "{last}");
    }
}

#[tokio::test]
async fn moving_a_deadline_in_each_poll_is_no_busy_loop() {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = polls.clone();
    let app = app(move |request: Request<RequestBody>| {
        let polls = count.clone();
        async move {
            let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
            let mut answer = std::pin::pin!(tokio::time::sleep(ms(100)));
            std::future::poll_fn(|cx| {
                polls.fetch_add(1, Relaxed);
                deadlines.set_write(ms(1_000));
                answer.as_mut().poll(cx)
            })
            .await;
            reply(200, "done")
        }
    });
    let server = Server::start(Timeouts::none(), app).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    let polls = polls.load(Relaxed);
    assert!(polls < 20, "{polls}");
}

// === the shutdown ===

#[tokio::test]
async fn follower_ends_with_the_shutdown_it_follows() {
    let app = app(|mut request: Request<RequestBody>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let _forgotten = upgrade.await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut response = reply(101, "");
        let headers = response.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "echo".parse().unwrap());
        response
    });
    let main = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = admin.local_addr().unwrap();
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(ms(200));
    let handle = shutdown.handle();
    let admin = lameduck::serve(admin, app.clone()).follow(&handle);
    let admin = tokio::spawn(admin.into_future());
    let main = tokio::spawn(lameduck::serve(main, app).shutdown(shutdown).into_future());
    let mut client = Raw::connect(addr).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert_eq!(client.read_response().await.status, 101);
    handle.drain_now();
    let report = within(LIMIT, "the report", main).await.unwrap().unwrap();
    assert_eq!(report.cut.len(), 1, "{report}");
    within(ms(1_000), "the follower", admin)
        .await
        .unwrap()
        .unwrap();
}

// === what is left ===

/// The server's parts refer to each other; the event listener is dropped with the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_server_leaves_nothing() {
    let app = app(|mut request: Request<RequestBody>| async move {
        let upgrades = request.headers().contains_key("upgrade");
        if upgrades || request.method() == Method::CONNECT {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let _ = io.write_all(b"hello").await;
                let _ = io.read(&mut [0; 16]).await;
            });
        }
        match request.uri().path() {
            "/panics" => panic!("as it should"),
            "/hangs" => std::future::pending().await,
            "/later" => drop(tokio::spawn(request.into_body().collect())),
            _ => {}
        }
        let mut response = reply(if upgrades { 101 } else { 200 }, "");
        if upgrades {
            let headers = response.headers_mut();
            headers.insert("connection", "upgrade".parse().unwrap());
            headers.insert("upgrade", "echo".parse().unwrap());
        }
        response
    });
    let (token, mut left) = mpsc::channel::<()>(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(ms(200));
    let handle = shutdown.handle();
    let serve = lameduck::serve(listener, app)
        .events(EventSink::to(move |_| {
            let _ = &token;
        }))
        .shutdown(shutdown);
    let served = tokio::spawn(serve.into_future());
    let mut clients = Vec::new();
    for (path, header) in [
        ("/", ""),
        ("/hangs", ""),
        ("/panics", ""),
        ("/up", "connection: upgrade\r\nupgrade: echo\r\n"),
        ("/", "content-length: 9\r\n"),
        ("/later", "content-length: 9\r\n"),
        ("/hangs", "transfer-encoding: chunked\r\n"),
    ] {
        let mut client = Raw::connect(addr).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        client.send(head).await;
        clients.push(client);
    }
    let mut answers = Vec::new();
    for (method, uri) in [
        (Method::GET, "http://a/"),
        (Method::GET, "http://a/hangs"),
        (Method::GET, "http://a/panics"),
        (Method::POST, "http://a/later"),
        (Method::CONNECT, "db.internal:5432"),
    ] {
        let (mut sender, connection, _) = h2_connect(addr).await;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(()).unwrap();
        let sent = sender.send_request(request, false).unwrap();
        answers.push((sender, sent));
    }
    // Each server has reported its request, or hangs.
    tokio::time::sleep(ms(100)).await;
    handle.drain_now();
    within(LIMIT, "the report", served).await.unwrap().unwrap();
    drop(handle);
    assert_eq!(within(LIMIT, "the end of all", left.recv()).await, None);
}

// === limits ===

#[tokio::test]
async fn large_head_limit_is_kept() {
    let limits = Limits::default().max_header_bytes(1024 * 1024);
    let server = Setup::new()
        .limits(limits)
        .start(app(|_| async { reply(200, "") }))
        .await;
    let mut client = server.connect().await;
    let long = "x".repeat(700 * 1024);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    assert_eq!(client.ask(head).await.status, 200);
}
