//! HTTP/2 work on two threads, or at an unlucky moment.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use lameduck::Timeouts;
use lameduck::serve::{RequestBody, serve_connection_with_timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Semaphore;

use crate::support::wire::{self, INITIAL_WINDOW, PREFACE};
use crate::support::{
    Frame, Frames, How, LIMIT, Raw, Server, Setup, app, empty, h2_connect, kind, ms, reply, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn busy_tunnel_does_not_affect_deadlines_of_other_streams() {
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
            // The deadline moves in `call` itself, while the tunnel continues on another thread.
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
async fn slowly_read_heads_are_whole_in_a_drain() {
    const ASKED: usize = 150;
    let answered = Arc::new(AtomicUsize::new(0));
    let counts = answered.clone();
    let app = app(move |_| {
        counts.fetch_add(1, Relaxed);
        async {
            let mut response = reply(200, "");
            let long = "x".repeat(30_000);
            response
                .headers_mut()
                .insert("x-long", long.parse().unwrap());
            response
        }
    });
    let mut server = Setup::new().drain(Duration::from_secs(20)).start(app).await;
    let stream = tokio::net::TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = stream.connect(server.addr).await.unwrap();
    let mut hello = PREFACE.to_vec();
    hello.extend(Frame::new(kind::SETTINGS, 0, 0, []).bytes());
    for stream in 0..ASKED {
        let stream = u32::try_from(stream * 2 + 1).unwrap();
        // GET http://a/
        let block = [0x82, 0x86, 0x84, 0x01, 1, b'a'];
        hello.extend(Frame::new(kind::HEADERS, 5, stream, block).bytes());
    }
    stream.write_all(&hello).await.unwrap();
    let all = async {
        while answered.load(Relaxed) < ASKED {
            tokio::time::sleep(ms(5)).await;
        }
    };
    within(LIMIT, "all requests", all).await;
    // Fill the socket until it accepts no more.
    tokio::time::sleep(ms(300)).await;
    server.handle.drain_now();
    tokio::time::sleep(ms(1_500)).await;
    let (mut came, mut heads) = (0, 0);
    let mut partial = Frames::default();
    let mut buffer = vec![0; 64 * 1024];
    let reading = async {
        loop {
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                break;
            }
            came += length;
            for frame in partial.take(&buffer[..length]) {
                heads += usize::from(frame.kind == kind::HEADERS);
                if frame.kind == kind::PING && frame.flags == 0 {
                    let pong = Frame::new(kind::PING, 1, 0, frame.payload);
                    let _ = stream.write_all(&pong.bytes()).await;
                }
            }
        }
    };
    within(Duration::from_secs(30), "all", reading).await;
    let report = server.report().await;
    assert_eq!(heads, ASKED, "{came} bytes; {report}");
    assert!(report.is_clean(), "{report}");
}

/// Takes its time to be dropped, while other threads go on with all other tasks, those that this one has woken too.
struct SlowToDrop;

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| std::thread::sleep(ms(150)));
    }
}

/// An HTTP/2 client that says nothing but this.
async fn h2_says(server: &Server, settings: &[u8], block: &[u8]) -> Raw {
    let mut client = server.connect().await;
    client.send(PREFACE).await;
    let settings = Frame::new(kind::SETTINGS, 0, 0, settings);
    let head = Frame::new(kind::HEADERS, 5, 1, block);
    client.send([settings.bytes(), head.bytes()].concat()).await;
    client
}

/// GET http://a/
const GET_BLOCK: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 1, b'a'];

/// The connection has had its last turn, by h2's wakes, when its last stream ends on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connection_whose_last_stream_ends_on_another_thread_is_idle() {
    let came = Arc::new(Semaphore::new(0));
    let comes = came.clone();
    let app = app(move |request| {
        let came = comes.clone();
        async move {
            let _slow = SlowToDrop;
            // Dropped before, and with it what h2 knows of the stream.
            let _request = request;
            came.add_permits(1);
            std::future::pending::<()>().await;
            reply(200, "never")
        }
    });
    let server = Server::start(Timeouts::none().idle(ms(300)), app).await;
    let mut client = h2_says(&server, &[], &GET_BLOCK).await;
    within(LIMIT, "a request", came.acquire())
        .await
        .unwrap()
        .forget();
    // The deadline that was armed before the stream began comes and goes.
    tokio::time::sleep(ms(600)).await;
    let reset = Frame::new(kind::RST_STREAM, 0, 1, [0, 0, 0, 8]);
    client.send(reset.bytes()).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
}

/// One piece, and then the end.
struct SlowBody(Option<Bytes>, #[allow(dead_code)] SlowToDrop);

impl http_body::Body for SlowBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        let piece = self.0.take();
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The connection has had its last turn when a stream's task ends and leaves the end of its answer behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answer_end_left_on_another_thread_has_its_deadline() {
    let app = tower::service_fn(|_: Request<RequestBody>| async {
        let body = SlowBody(Some(Bytes::from_static(b"hello")), SlowToDrop);
        Ok::<_, Infallible>(Response::new(body))
    });
    let server = Server::start(Timeouts::none().write_stall(ms(300)), app).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: room for a part of it.
    let mut client = h2_says(&server, &[0, 4, 0, 0, 0, 3], &GET_BLOCK).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
}

#[tokio::test]
async fn answer_that_leaves_in_small_pieces_has_its_end() {
    // Several DATA frames, none of which the transport takes at once.
    let app = app(|_| async { reply(200, vec![7; 100_000]) });
    let (mut client, io) = duplex(512);
    tokio::spawn(serve_connection_with_timeouts(io, app, Timeouts::none()).unwrap());
    let hello = [
        PREFACE.to_vec(),
        wire::settings(&[(INITIAL_WINDOW, 1 << 20)]),
        wire::window_update(0, 1 << 20),
        Frame::new(kind::HEADERS, 5, 1, GET_BLOCK).bytes(),
    ];
    client.write_all(&hello.concat()).await.unwrap();
    let mut frames = Frames::default();
    let mut buffer = [0; 512];
    let end = async {
        loop {
            let length = client.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "the connection stands");
            let came = frames.take(&buffer[..length]);
            if came
                .iter()
                .any(|frame| frame.stream == 1 && frame.ends_stream())
            {
                return;
            }
        }
    };
    within(LIMIT, "the end", end).await;
}
