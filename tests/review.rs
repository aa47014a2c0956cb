//! Cases that need two threads, two tasks, two servers or an unlucky moment.
#![cfg(feature = "serve")]

mod support;

use std::convert::Infallible;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::serve::{Deadlines, RequestBody, serve_connection_with_timeouts};
use lameduck::{Limits, Shutdown, Timeouts};
use support::{How, LIMIT, Raw, Server, Setup, app, empty, h2_connect, kind, ms, reply, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

// === HTTP/2 ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_tunnel_takes_no_deadlines_from_other_streams() {
    let app = tower::service_fn(|mut request: Request<RequestBody>| {
        let connect = request.method() == Method::CONNECT;
        let hangs = request.uri().path() == "/hangs";
        if connect {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                while io.write_all(b"tick").await.is_ok() {
                    tokio::time::sleep(ms(5)).await;
                }
            });
        } else if hangs {
            // In `call` itself, while the tunnel goes on in another thread.
            std::thread::sleep(ms(60));
        }
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(empty()))
        }
    });
    let timeouts = Timeouts::none().write(ms(300));
    let server = Server::start(timeouts, app).await;
    let (mut sender, connection, _) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("db.internal:5432")
        .body(())
        .unwrap();
    let (answer, tunnel) = sender.send_request(request, false).unwrap();
    let mut ticks = within(LIMIT, "a tunnel", answer).await.unwrap().into_body();
    within(LIMIT, "a tick", ticks.data())
        .await
        .unwrap()
        .unwrap();
    tokio::spawn(async move {
        let _tunnel = tunnel;
        while let Some(Ok(data)) = ticks.data().await {
            let _ = ticks.flow_control().release_capacity(data.len());
        }
    });
    let request = Request::get("http://a/hangs").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    match within(ms(2_000), "the write deadline", answer).await {
        Err(error) => assert!(error.is_reset(), "{error}"),
        Ok(answer) => assert_eq!(answer.status(), 503),
    }
}

#[tokio::test]
async fn heads_that_are_taken_slowly_are_whole_in_a_drain() {
    const ASKED: usize = 150;
    let app = app(|_| async {
        let mut response = reply(200, "");
        let long = "x".repeat(30_000);
        response
            .headers_mut()
            .insert("x-long", long.parse().unwrap());
        response
    });
    let mut server = Setup::new().start(app).await;
    let stream = tokio::net::TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = stream.connect(server.addr).await.unwrap();
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(support::Frame::new(kind::SETTINGS, 0, 0, []).bytes());
    for stream in 0..ASKED {
        let stream = u32::try_from(stream * 2 + 1).unwrap();
        // GET http://a/
        let block = [0x82, 0x86, 0x84, 0x01, 1, b'a'];
        hello.extend(support::Frame::new(kind::HEADERS, 5, stream, block).bytes());
    }
    stream.write_all(&hello).await.unwrap();
    // Until all are answered and nothing more goes through the socket.
    tokio::time::sleep(ms(300)).await;
    server.handle.drain_now();
    tokio::time::sleep(ms(1_500)).await;
    let mut bytes = Vec::new();
    let mut ponged = 0;
    let reading = async {
        loop {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
            let pings: Vec<_> = support::frames(&bytes)
                .into_iter()
                .filter(|frame| frame.kind == kind::PING && frame.flags == 0)
                .collect();
            for ping in &pings[ponged..] {
                let pong = support::Frame::new(kind::PING, 1, 0, ping.payload.clone());
                let _ = stream.write_all(&pong.bytes()).await;
            }
            ponged = pings.len();
        }
    };
    within(LIMIT, "all", reading).await;
    let heads = support::frames(&bytes)
        .iter()
        .filter(|frame| frame.kind == kind::HEADERS)
        .count();
    let report = server.report().await;
    assert_eq!(heads, ASKED, "{} bytes; {report}", bytes.len());
}

// === two tasks ===

#[tokio::test]
async fn deadlines_that_outlive_their_request_do_not_touch_the_head_behind_it() {
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
    assert_eq!(client.ask(GET).await.status, 200);
    client.send("POST /second HTTP/1.1\r\nhost: a\r\n").await;
    tokio::time::sleep(ms(50)).await;
    kept.lock().unwrap().take().unwrap().set_read(None);
    client.send("content-length: 9\r\n\r\nhalf").await;
    let ending = client.read_until_close_for(ms(2_000)).await;
    assert_ne!(ending.how, How::StillOpen, "{}", ending.text());
}

/// The answer goes out while another task reads the end of the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_as_its_answer_goes_out_leaves_an_idle_connection() {
    let app = app(|request: Request<RequestBody>| async {
        tokio::spawn(request.into_body().collect());
        tokio::task::yield_now().await;
        reply(200, "taken")
    });
    let idle = ms(150);
    let timeouts = Timeouts::none().idle(idle).read_header(idle);
    let server = Server::start(timeouts, app).await;
    for _ in 0..20 {
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = server.connect().await;
            client
                .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
                .await;
            clients.push(client);
        }
        for client in &mut clients {
            let ending = client.read_until_close_for(ms(2_000)).await;
            assert_eq!(ending.how, How::Fin, "{}", ending.text());
        }
    }
}

fn hello() -> impl lameduck::serve::App {
    tower::service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    })
}

#[tokio::test]
async fn a_connection_that_has_ended_is_closed_though_its_future_lives() {
    let (mut client, io) = tokio::io::duplex(1024);
    let timeouts = Timeouts::none().idle(ms(50)).read_header(ms(50));
    let connection = serve_connection_with_timeouts(io, hello(), timeouts).unwrap();
    let mut connection = std::pin::pin!(connection);
    within(LIMIT, "its end", connection.as_mut()).await;
    let mut rest = Vec::new();
    let end = within(ms(500), "the close", client.read_to_end(&mut rest)).await;
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_may_move_to_another_task() {
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
    let (mut client, io) = tokio::io::duplex(1024);
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

// === the shutdown ===

fn signal(name: &str) {
    let kill = format!("kill -{name} {}", std::process::id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "{kill}");
}

/// A container's stop hook asks for the drain by an admin call; the orchestrator's signal follows.
#[tokio::test]
async fn the_first_signal_after_a_call_cuts_nothing() {
    let came = Arc::new(Semaphore::new(0));
    let let_go = Arc::new(Semaphore::new(0));
    let (comes, waits) = (came.clone(), let_go.clone());
    let app = app(move |_| {
        let (came, let_go) = (comes.clone(), waits.clone());
        async move {
            came.add_permits(1);
            let_go.acquire().await.unwrap().forget();
            reply(200, "done")
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().lame_duck(ms(200)).drain(ms(3_000));
    let handle = shutdown.handle();
    let served = tokio::spawn(
        lameduck::serve(listener, app)
            .shutdown(shutdown)
            .into_future(),
    );
    let mut client = Raw::connect(addr).await;
    client.send(GET).await;
    within(LIMIT, "a request", came.acquire())
        .await
        .unwrap()
        .forget();
    handle.shutdown();
    tokio::time::sleep(ms(30)).await;
    signal("TERM");
    tokio::time::sleep(ms(400)).await;
    let_go.add_permits(1);
    let answer = client.try_read_response().await;
    let report = within(LIMIT, "the report", served).await.unwrap().unwrap();
    assert_eq!(answer.unwrap().status, 200, "{report}");
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_follower_ends_with_the_shutdown_it_follows() {
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

#[tokio::test]
async fn what_waits_in_the_queue_for_want_of_descriptors_is_answered() {
    let server_app = app(|_| async {
        tokio::time::sleep(ms(300)).await;
        reply(200, "done")
    });
    let mut server = Setup::new().start(server_app).await;
    let mut first = server.connect().await;
    assert_eq!(first.ask(GET).await.status, 200);
    // The clients have their descriptors; the server is to have none.
    let sockets: Vec<_> = (0..8)
        .map(|_| tokio::net::TcpSocket::new_v4().unwrap())
        .collect();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let limit = format!("--nofile={used}:");
    let mut held = Vec::new();
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(status.unwrap().success());
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    first.send(GET).await;
    let mut clients = Vec::new();
    for socket in sockets {
        let mut stream = socket.connect(server.addr).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    tokio::time::sleep(ms(50)).await;
    server.handle.drain_now();
    tokio::time::sleep(ms(100)).await;
    drop(held);
    for client in &mut clients {
        let mut answer = Vec::new();
        let read = within(LIMIT, "an answer", client.read_to_end(&mut answer)).await;
        assert!(
            read.is_ok() && answer.starts_with(b"HTTP/1.1 200"),
            "{read:?}"
        );
    }
    assert!(server.report().await.is_clean());
}

// === limits ===

#[tokio::test]
async fn a_large_limit_of_a_head_is_kept() {
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
