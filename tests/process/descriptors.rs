//! A process that has no more file descriptors serves its waiting clients later.
#![cfg(target_os = "linux")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lameduck::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{LIMIT, Server, Setup, again, app, ms, reply, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const CLOSE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Runs in a process of its own with a handful of file descriptors and more connections than that. Connections that do
/// not fit wait, and are served when others have closed.
#[test]
fn process_without_descriptors_serves_waiting_clients_later() {
    const SERVE: &str = "LAMEDUCK_TEST_SERVE";
    if std::env::var_os(SERVE).is_some() {
        return serve_for_the_parent();
    }
    let test = "process_without_descriptors_serves_waiting_clients_later";
    let test = again(module_path!(), test);
    let mut server = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(test.get_program())
        .args(test.get_args())
        .env(SERVE, "1")
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = io::BufReader::new(server.stdout.take().unwrap());
    let addr = loop {
        let mut line = String::new();
        assert!(
            io::BufRead::read_line(&mut out, &mut line).unwrap() > 0,
            "no address"
        );
        if let Some((_, addr)) = line.trim().split_once("listening on ") {
            break addr.to_owned();
        }
    };
    let mut clients: Vec<_> = (0..80)
        .map(|_| TcpStream::connect(&addr).unwrap())
        .collect();
    // Connections are served in the order of arrival: each that ends makes room for one that waits.
    for client in &mut clients {
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.write_all(CLOSE.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(server.stdin.take());
    let ended = Instant::now();
    loop {
        if let Some(status) = server.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        assert!(ended.elapsed() < LIMIT, "it does not end");
        std::thread::yield_now();
    }
}

/// Serves until standard input closes.
fn serve_for_the_parent() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
        let handle = shutdown.handle();
        std::thread::spawn(move || {
            io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
            handle.shutdown();
        });
        let report = lameduck::serve(listener, app(|_| async { reply(200, "hello") }))
            .shutdown(shutdown)
            .await
            .unwrap();
        assert!(report.is_clean(), "{report}");
    });
}

/// Runs `name` in a process of its own, because the limit is process-wide.
fn alone(name: &str, test: impl Future<Output = ()>) {
    const ALONE: &str = "LAMEDUCK_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let alone = again(module_path!(), name).env(ALONE, "1").output();
        let alone = alone.unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success(), "{alone:?}");
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test);
}

/// Opens every file descriptor that this process may have.
fn take_descriptors() -> Vec<std::fs::File> {
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let pid = std::process::id().to_string();
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &pid, &format!("--nofile={used}:")]);
    assert!(limit.status().unwrap().success());
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

/// Connects clients whose requests wait in the accept queue.
async fn queued(
    sockets: Vec<tokio::net::TcpSocket>,
    server: &Server,
) -> Vec<tokio::net::TcpStream> {
    let mut clients = Vec::new();
    for socket in sockets {
        let mut stream = socket.connect(server.addr).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    clients
}

async fn all_are_answered(clients: Vec<tokio::net::TcpStream>) {
    for mut client in clients {
        let mut answer = Vec::new();
        let read = within(LIMIT, "an answer", client.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{read:?}");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
}

#[test]
fn queued_connections_are_answered_once_descriptors_are_free() {
    let name = "queued_connections_are_answered_once_descriptors_are_free";
    alone(name, async {
        let app = app(|_| async { reply(200, "done") });
        let mut server = Setup::new().start(app).await;
        let sockets = (0..8).map(|_| tokio::net::TcpSocket::new_v4().unwrap());
        let sockets = sockets.collect();
        let held = take_descriptors();
        let clients = queued(sockets, &server).await;
        server.handle.drain_now();
        tokio::time::sleep(ms(100)).await;
        drop(held);
        all_are_answered(clients).await;
        assert!(server.report().await.is_clean());
    });
}

#[test]
fn idle_connections_make_room_for_queued_ones() {
    let name = "idle_connections_make_room_for_queued_ones";
    alone(name, async {
        let app = app(|_| async { reply(200, "done") });
        let mut server = Setup::new().start(app).await;
        let mut idle = Vec::new();
        for _ in 0..8 {
            let mut client = server.connect().await;
            assert_eq!(client.ask(GET).await.status, 200);
            idle.push(client);
        }
        let sockets = (0..4).map(|_| tokio::net::TcpSocket::new_v4().unwrap());
        let sockets = sockets.collect();
        let held = take_descriptors();
        let clients = queued(sockets, &server).await;
        server.handle.drain_now();
        all_are_answered(clients).await;
        let report = server.report().await;
        assert!(report.is_clean() && report.drain < ms(2_000), "{report}");
        drop((held, idle));
    });
}
