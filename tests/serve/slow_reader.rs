//! A client that reads a large response slowly over a real socket, whose kernel rarely informs the server's.
#![cfg(target_os = "linux")]

use std::time::Duration;

use http::Response;
use lameduck::Timeouts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout};

use crate::support::{Server, app, full, ms};

/// Reads `step` bytes of a large response each 250 ms for `time`. Returns how long the server allowed it.
async fn read_slowly(server: &Server, step: usize, time: Duration) -> Duration {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(server.addr).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let began = Instant::now();
    let mut bytes = vec![0; step];
    while began.elapsed() < time {
        tokio::time::sleep(ms(250)).await;
        match timeout(ms(5_000), client.read(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            ended => {
                eprintln!("{ended:?}");
                break;
            }
        }
    }
    began.elapsed()
}

async fn server(timeouts: Timeouts) -> Server {
    let large = || async { Response::new(full(vec![b'.'; 4 << 20])) };
    Server::start(timeouts, app(move |_| large())).await
}

#[tokio::test]
async fn slow_reader_does_not_stall() {
    // The socket becomes writable after 64 KiB, which takes this reader 8 s.
    let server = server(Timeouts::none().write_stall(ms(3_000))).await;
    let lived = read_slowly(&server, 2_048, ms(9_000)).await;
    assert!(lived >= ms(9_000), "cut after {lived:?}");
}

#[tokio::test]
async fn stopped_reader_stalls() {
    // The bytes that the client's kernel takes at once are no sign of life, also where the rate is checked later.
    let timeouts = Timeouts::none()
        .write_stall(ms(3_000))
        .min_write_rate(lameduck::MinRate::new(240).grace(ms(2_000)));
    let server = server(timeouts).await;
    let mut reader = server.connect().await;
    reader.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.until_open(1).await;
    let began = Instant::now();
    server.until_open(0).await;
    let lived = began.elapsed();
    assert!(lived < ms(4_500), "after {lived:?}");
    assert!(
        server
            .reported()
            .iter()
            .any(|event| event.contains("write_stall")),
        "{:?}",
        server.reported()
    );
}
