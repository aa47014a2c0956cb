//! Upgraded connections are notified, waited for, and cut; they count until their IO is dropped.

mod websocket;

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use lameduck::serve::{Connections, RequestBody, ServeIo};
use lameduck::shutdown::ShutdownHandle;
use lameduck::{ConnInfo, InFlightLayer, Limits, Shutdown, Timeouts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tower::Layer;

use crate::support::{App, Body, How, LIMIT, Server, Setup, app, empty, ms, reply, within};

const UPGRADE: &str =
    "GET /up?token=secret HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

fn switching() -> Response<Body> {
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(empty())
        .unwrap()
}

/// Builds a service that upgrades any client that asks for it, and runs `then` with the connection.
fn upgrading<R>(then: impl Fn(TokioIo<Upgraded>) -> R + Clone + Send + Sync + 'static) -> App
where
    R: Future<Output = ()> + Send + 'static,
{
    app(move |mut request: Request<RequestBody>| {
        let then = then.clone();
        async move {
            if !request.headers().contains_key("upgrade") && request.method() != "CONNECT" {
                return reply(200, "no upgrade");
            }
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let upgraded = upgrade.await.expect("the upgrade");
                then(TokioIo::new(upgraded)).await;
            });
            match request.method().as_str() {
                "CONNECT" => reply(200, ""),
                _ => switching(),
            }
        }
    })
}

/// Echoes, and reports how reading ended.
fn echo() -> (App, mpsc::UnboundedReceiver<Result<(), ErrorKind>>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let app = upgrading(move |mut io| {
        let ended = ended.clone();
        async move {
            let mut buffer = [0; 1024];
            let end = loop {
                match io.read(&mut buffer).await {
                    Ok(0) => break Ok(()),
                    Ok(length) => {
                        if let Err(error) = io.write_all(&buffer[..length]).await {
                            break Err(error.kind());
                        }
                    }
                    Err(error) => break Err(error.kind()),
                }
            };
            ended.send(end).unwrap();
        }
    });
    (app, ends)
}

/// An upgraded connection, of the client's side.
async fn upgrade(server: &Server) -> TcpStream {
    let mut client = server.connect().await;
    let answer = client.ask(UPGRADE).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("upgrade"));
    client.into_stream()
}

async fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut came = vec![0; text.len()];
    let read = within(LIMIT, "the echo", stream.read_exact(&mut came)).await;
    read.unwrap();
    assert_eq!(came, text.as_bytes());
}

/// Returns how the server ended the connection.
async fn ending(stream: &mut TcpStream) -> How {
    let mut rest = Vec::new();
    match within(LIMIT, "the end", stream.read_to_end(&mut rest)).await {
        Ok(_) => How::Fin,
        Err(_) => How::Reset,
    }
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    within(LIMIT, "word from the server's side", receiver.recv())
        .await
        .expect("a word")
}

/// A transport whose read orders the cut, and returns `Pending` some time later: the cut falls between the server's
/// look at the cut and the registration of its waker.
struct CutWhileReading {
    io: DuplexStream,
    race: Arc<Race>,
}

struct Race {
    armed: AtomicBool,
    handle: ShutdownHandle,
}

impl AsyncRead for CutWhileReading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if poll.is_pending() && self.race.armed.swap(false, SeqCst) {
            self.race.handle.cut();
            // This leaves time to carry it out on another thread. On a busy machine it may come later, and the
            // connection is woken as any other.
            std::thread::sleep(ms(500));
        }
        poll
    }
}

impl AsyncWrite for CutWhileReading {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_during_a_read_is_not_missed() {
    let shutdown = Shutdown::new().signals(false).drain(LIMIT);
    let race = Arc::new(Race {
        armed: AtomicBool::new(false),
        handle: shutdown.handle(),
    });
    let connections = Connections::new(Timeouts::none(), Limits::default()).unwrap();
    let connections = connections.follow(&race.handle);
    let run = tokio::spawn(shutdown.run());
    let (app, mut ends) = echo();
    let (mut client, io) = tokio::io::duplex(1024);
    let io = CutWhileReading {
        io,
        race: race.clone(),
    };
    tokio::spawn(connections.serve(io, ConnInfo::default(), app));
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    client.write_all(b"one").await.unwrap();
    let mut rest = Vec::new();
    while !rest.ends_with(b"one") {
        within(LIMIT, "the echo", client.read_buf(&mut rest))
            .await
            .unwrap();
    }
    race.armed.store(true, SeqCst);
    client.write_all(b"two").await.unwrap();
    let ended = within(2 * LIMIT, "its read fails", ends.recv()).await;
    assert_eq!(ended, Some(Err(ErrorKind::ConnectionAborted)));
    let report = within(LIMIT, "the report", run).await.unwrap().unwrap();
    assert_eq!(report.cut.len(), 1);
}

// === life ===

#[tokio::test]
async fn upgraded_connection_counts_until_it_is_dropped() {
    let (app, mut ends) = echo();
    let server = Setup::new().start(app).await;
    let mut stream = upgrade(&server).await;
    for text in ["one", "two", "three"] {
        echoes(&mut stream, text).await;
    }
    assert_eq!(server.open(), 1);
    drop(stream);
    assert_eq!(next(&mut ends).await, Ok(()));
    server.until_open(0).await;
    server.finish().await;
}

/// The end of the body and the beginning of the stream would be ambiguous.
#[tokio::test]
async fn request_with_a_body_is_not_upgraded() {
    let app = app(|mut request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/up" => {
                let upgrade = hyper::upgrade::on(&mut request);
                assert!(upgrade.await.is_err(), "upgraded");
                reply(200, "no upgrade")
            }
            "/good" => reply(200, "good"),
            // Without a look at what it is asked.
            _ => switching(),
        }
    });
    let server = Setup::new().start(app).await;
    let next = "GET /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for (framing, body) in [
        ("content-length: 5", "hello"),
        ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        for (path, status) in [("/up", 200), ("/blind", 500)] {
            let head = UPGRADE.replace("/up?token=secret", path);
            let head = head.trim_end().to_owned();
            let request = format!("{head}\r\n{framing}\r\n\r\n{body}{next}");
            let mut client = server.connect().await;
            client.send(request).await;
            let ending = client.read_until_close().await;
            let statuses: Vec<u16> = ending.answers().iter().map(|it| it.status).collect();
            assert_eq!(statuses, [status, 200], "{framing} {path}: {ending:?}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn bytes_behind_the_request_belong_to_the_stream() {
    let (app, _ends) = echo();
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client.send(UPGRADE.to_owned() + "early, ").await;
    client.stream().readable().await.unwrap();
    client.send("late").await;
    client.finish_sending().await;
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Fin);
    let text = ending.text();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.ends_with("\r\n\r\nearly, late"), "{text}");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn upgraded_connection_has_no_http_deadlines() {
    let (app, _ends) = echo();
    let timeouts = Timeouts::none()
        .read_header(ms(150))
        .read(ms(150))
        .write(ms(150))
        .idle(ms(150))
        .read_stall(ms(150))
        .write_stall(ms(150));
    let server = Server::start(timeouts, app).await;
    let mut stream = upgrade(&server).await;
    tokio::time::sleep(ms(500)).await;
    echoes(&mut stream, "still there").await;
    drop(stream);
    server.finish().await;
}

#[tokio::test]
async fn transport_can_be_taken_back() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let app = upgrading(move |io| {
        let sender = sender.clone();
        async move {
            let upgraded = io.into_inner();
            let parts = upgraded.downcast::<TokioIo<ServeIo<TcpStream>>>().unwrap();
            let mut io = parts.io.into_inner();
            let peer = io.get_ref().peer_addr().unwrap();
            io.write_all(b"from the transport").await.unwrap();
            sender.send(peer).unwrap();
        }
    });
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client.send(UPGRADE).await;
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Fin);
    let text = ending.text();
    assert!(text.ends_with("\r\n\r\nfrom the transport"), "{text}");
    assert_eq!(
        next(&mut received).await,
        client.stream().local_addr().unwrap()
    );
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn closing_the_write_side_first_loses_no_input() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let sent = Arc::new(Notify::new());
    let wait = sent.clone();
    let app = upgrading(move |mut io| {
        let (sender, wait) = (sender.clone(), wait.clone());
        async move {
            wait.notified().await;
            io.shutdown().await.unwrap();
            let mut came = String::new();
            io.read_to_string(&mut came).await.unwrap();
            sender.send(came).unwrap();
        }
    });
    let server = Setup::new().start(app).await;
    let mut stream = upgrade(&server).await;
    // The bytes are in the socket when the write side is closed, which is the client's first step.
    stream.write_all(b"a long ").await.unwrap();
    tokio::time::sleep(ms(20)).await;
    sent.notify_one();
    assert_eq!(ending(&mut stream).await, How::Fin);
    stream.write_all(b"good-bye").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(next(&mut received).await, "a long good-bye");
    drop(stream);
    server.finish().await;
}

#[tokio::test]
async fn unclaimed_upgrade_closes_the_connection() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let app = layer.layer(app(|request: Request<RequestBody>| async move {
        match request.headers().contains_key("upgrade") {
            true => switching(),
            false => reply(200, "no upgrade"),
        }
    }));
    let server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client.send(UPGRADE).await;
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    server.until_open(0).await;
    assert_eq!(in_flight.count(), 0);
    server.finish().await;
}

// === the drain ===

#[tokio::test]
async fn upgraded_connection_is_waited_for() {
    let (app, mut ends) = echo();
    let mut server = Setup::new().start(app).await;
    let mut stream = upgrade(&server).await;
    server.handle.drain_now();
    for text in ["one", "two", "three", "four"] {
        tokio::time::sleep(ms(60)).await;
        echoes(&mut stream, text).await;
    }
    drop(stream);
    let report = server.report().await;
    assert_eq!(next(&mut ends).await, Ok(()));
    assert!(report.is_clean(), "{report}");
    assert!(
        report.drain >= ms(200) && report.drain < ms(1_200),
        "{report}"
    );
}

/// Asserts that the connection is cut at the deadline: its reads fail, and the report names it.
async fn is_cut_and_named(connections: usize) {
    let (app, mut ends) = echo();
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = upgrade(&server).await;
        // Half of the connections have never read or written.
        if streams.len() % 2 == 0 {
            echoes(&mut stream, "hello").await;
        }
        streams.push(stream);
    }
    let report = server.drain().await;
    assert!(report.drain >= ms(290), "{report}");
    assert!(report.drain < ms(390), "they fell at once: {report}");
    assert_eq!(report.cut.len(), connections, "{report}");
    for cut in &report.cut {
        assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/up"));
        assert_eq!(cut.state, "upgraded");
        assert!(
            cut.age >= ms(290) && cut.age < Duration::from_secs(5),
            "{cut}"
        );
    }
    let mut named: Vec<_> = report.cut.iter().filter_map(|cut| cut.peer).collect();
    let mut peers: Vec<_> = streams.iter().map(|s| s.local_addr().unwrap()).collect();
    named.sort_unstable();
    peers.sort_unstable();
    assert_eq!(named, peers);
    for stream in &mut streams {
        assert_eq!(next(&mut ends).await, Err(ErrorKind::ConnectionAborted));
        ending(stream).await;
    }
    server.until_open(0).await;
    let reported = server.reported();
    let cut = reported
        .iter()
        .filter(|line| line.starts_with("connection closed") && line.ends_with(": cut"));
    assert_eq!(cut.count(), connections, "as cut connections");
    assert!(!report.is_clean());
}

#[tokio::test]
async fn upgraded_connection_is_cut_at_the_deadline_and_reported() {
    is_cut_and_named(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgraded_connections_are_cut_at_the_deadline_and_reported() {
    is_cut_and_named(60).await;
}

#[tokio::test]
async fn both_halves_of_a_cut_connection_fail() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let app = upgrading(move |io| {
        let sender = sender.clone();
        async move {
            let (mut reader, mut writer) = tokio::io::split(io);
            let tell_of_read = sender.clone();
            tokio::spawn(async move {
                let error = reader.read(&mut [0; 64]).await.unwrap_err();
                tell_of_read.send(("read", error.kind())).unwrap();
            });
            // The client reads nothing: the writer is stuck before long.
            let error = loop {
                if let Err(error) = writer.write_all(&[7; 64 * 1024]).await {
                    break error;
                }
            };
            sender.send(("write", error.kind())).unwrap();
        }
    });
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let stream = upgrade(&server).await;
    let report = server.drain().await;
    let mut both = [next(&mut received).await, next(&mut received).await];
    both.sort_unstable_by_key(|(half, _)| *half);
    let aborted = ErrorKind::ConnectionAborted;
    assert_eq!(both, [("read", aborted), ("write", aborted)]);
    assert_eq!(report.cut.len(), 1, "{report}");
    drop(stream);
}

#[tokio::test]
async fn forgotten_upgraded_connection_delays_no_one() {
    let (keep, mut kept) = mpsc::unbounded_channel();
    let app = upgrading(move |io| {
        let keep = keep.clone();
        async move { keep.send(io).unwrap() }
    });
    let mut server = Setup::new().drain(ms(200)).start(app).await;
    let stream = upgrade(&server).await;
    let io = next(&mut kept).await;
    let report = server.drain().await;
    assert!(report.drain < ms(900), "{report}");
    assert_eq!(report.cut.len(), 1, "{report}");
    drop((io, stream));
}

#[tokio::test]
async fn a_tunnel_is_named_by_where_it_leads() {
    let app = upgrading(|mut io| async move {
        let _ = io.read(&mut [0; 64]).await;
    });
    let mut server = Setup::new().drain(ms(200)).start(app).await;
    let mut client = server.connect().await;
    let connect = "CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\n";
    client.send(connect).await;
    client.stream().readable().await.unwrap();
    let report = server.drain().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    let ending = client.read_until_close().await;
    assert!(ending.text().starts_with("HTTP/1.1 200 "), "{ending:?}");
    let cut = &report.cut[0];
    assert_eq!(
        (cut.method.as_str(), cut.path.as_str()),
        ("CONNECT", "db.internal:5432")
    );
    assert_eq!(cut.state, "upgraded");
}
