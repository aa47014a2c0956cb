//! Deadlines that a handler moves, and clients that stand still.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::{Deadlines, RequestBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::GET;
use crate::support::{App, Body, LIMIT, Raw, Server, Setup, app, ms, reply, within};

// === a handler's own deadlines ===

#[tokio::test]
async fn handler_moves_its_write_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        match request.uri().path() {
            "/longer" => deadlines.set_write(ms(2_000)),
            "/off" => deadlines.set_write(None),
            "/shorter" => deadlines.set_write(ms(80)),
            "/left" => {}
            _ => return reply(200, "at once"),
        }
        tokio::time::sleep(ms(500)).await;
        reply(200, "done")
    });
    let server = Server::start(Timeouts::none().write(ms(250)), app).await;
    let cases = [
        ("/longer", 200, 480, 1_500),
        ("/off", 200, 480, 1_500),
        ("/shorter", 503, 60, 245),
        ("/left", 503, 230, 480),
    ];
    let addr = server.addr;
    let asked = cases.map(|(path, status, from, to)| async move {
        let mut client = Raw::connect(addr).await;
        let answer = client
            .ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let at = client.elapsed();
        assert_eq!(answer.status, status, "{path} at {at:?}");
        assert!(at >= ms(from) && at < ms(to), "{path} at {at:?}");
        assert_eq!(answer.closes(), status == 503, "{path}");
        if status == 200 {
            // The next request has the configured deadline again.
            assert_eq!(client.ask(GET).await.status, 200);
            client.mark();
            let answer = client.ask("GET /left HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(answer.status, 503, "after {path}");
            assert!(
                client.elapsed() < ms(480),
                "after {path}: {:?}",
                client.elapsed()
            );
        }
    });
    let asked = asked.map(tokio::spawn);
    for asked in asked {
        asked.await.unwrap();
    }
    server.finish().await;
}

/// Answers with the result of reading the body.
async fn how_it_was_read(request: Request<RequestBody>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => reply(200, format!("{} bytes", body.to_bytes().len())),
        Err(error) if error.is_timeout() => reply(408, "too slow"),
        Err(_) => reply(400, "it broke off"),
    }
}

#[tokio::test]
async fn handler_moves_its_read_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        match request.uri().path() {
            "/longer" => deadlines.set_read(ms(2_000)),
            "/off" => deadlines.set_read(None),
            "/shorter" => deadlines.set_read(ms(80)),
            _ => {}
        }
        how_it_was_read(request).await
    });
    let server = Server::start(Timeouts::none().read(ms(250)), app).await;
    let cases = [
        ("/longer", 200, 480, 1_500),
        ("/off", 200, 480, 1_500),
        ("/shorter", 408, 60, 245),
        ("/left", 408, 230, 480),
    ];
    let addr = server.addr;
    let asked = cases.map(|(path, status, from, to)| async move {
        let mut client = Raw::connect(addr).await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
            ))
            .await;
        if status == 200 {
            client.sleep_until(ms(500)).await;
            client.send("0123456789").await;
        }
        let answer = client.read_response().await;
        let at = client.elapsed();
        assert_eq!(answer.status, status, "{path} at {at:?}");
        assert!(at >= ms(from) && at < ms(to), "{path} at {at:?}");
        assert_eq!(answer.closes(), status == 408, "{path}");
    });
    let asked = asked.map(tokio::spawn);
    for asked in asked {
        asked.await.unwrap();
    }
    server.finish().await;
}

#[tokio::test]
async fn deadlines_handle_of_an_ended_request_affects_no_other() {
    let kept = Arc::new(Mutex::new(None::<Deadlines>));
    let keep = kept.clone();
    let app = app(move |request: Request<RequestBody>| {
        let keep = keep.clone();
        async move {
            let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
            let before = keep.lock().unwrap().replace(deadlines);
            if request.uri().path() == "/second" {
                let before = before.unwrap();
                before.set_write(ms(1));
                before.set_read(ms(1));
                tokio::time::sleep(ms(100)).await;
            }
            reply(200, "done")
        }
    });
    let server = Server::start(Timeouts::none(), app).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    let answer = client.ask("GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    // The idle connection is not affected either.
    kept.lock().unwrap().take().unwrap().set_write(ms(1));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(client.ask(GET).await.status, 200);
    drop(client);
    server.finish().await;
}

// === standing still ===

#[tokio::test(start_paused = true)]
async fn steady_uploader_is_served_and_a_stalled_one_is_cut() {
    let setup = Setup::new().timeouts(Timeouts::none().read_stall(ms(250)));
    let server = setup.start_in_memory(app(how_it_was_read)).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n";
    let mut steady = server.connect().await;
    steady.send(head).await;
    for _ in 0..12 {
        tokio::time::sleep(ms(60)).await;
        steady.send("x").await;
    }
    let answer = steady.read_response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "12 bytes"));
    assert!(steady.elapsed() > ms(700));

    let mut stalled = server.connect().await;
    stalled.send(head.to_owned() + "xxx").await;
    stalled.mark();
    let ending = stalled.read_until_close().await;
    let answer = ending.answer();
    assert_eq!((answer.status, answer.text().as_str()), (408, "too slow"));
    assert!(answer.closes());
    assert!(
        ending.at >= ms(230) && ending.at < ms(1_250),
        "{:?}",
        ending.at
    );
    drop((steady, stalled));
    assert!(
        server
            .reported()
            .iter()
            .any(|line| line.starts_with("timeout read_stall"))
    );
    server.finish().await;
}

#[tokio::test]
async fn handler_that_does_not_read_is_no_client_stall() {
    let app = app(|request: Request<RequestBody>| async move {
        tokio::time::sleep(ms(400)).await;
        how_it_was_read(request).await
    });
    let server = Server::start(Timeouts::none().read_stall(ms(150)), app).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        .await;
    client.sleep_until(ms(450)).await;
    client.send("done").await;
    assert_eq!(client.read_response().await.text(), "4 bytes");
    drop(client);
    server.finish().await;
}

const LARGE: usize = 12 * 1024 * 1024;

/// Builds a service whose response to `/large` exceeds the socket buffers.
fn large() -> App {
    app(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/large" => reply(200, vec![7; LARGE]),
            _ => reply(200, "good"),
        }
    })
}

async fn ask_for_the_large(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(server.addr).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn steady_downloader_is_served() {
    let stall = ms(1_500);
    let server = Server::start(Timeouts::none().write_stall(stall), large()).await;
    let mut steady = ask_for_the_large(&server).await;
    let began = Instant::now();
    let mut buffer = vec![0; 512 * 1024];
    let mut came = 0;
    loop {
        let mut read = 0;
        let ended = loop {
            let some = within(LIMIT, "more", steady.read(&mut buffer[read..]))
                .await
                .unwrap();
            read += some;
            if some == 0 || read == buffer.len() {
                break some == 0;
            }
        };
        came += read;
        if ended {
            break;
        }
        tokio::time::sleep(ms(170)).await;
    }
    assert!(came > LARGE, "all of it: {came}");
    assert!(began.elapsed() > stall * 5 / 2, "{:?}", began.elapsed());
    server.finish().await;
}

#[tokio::test]
async fn stalled_downloader_is_cut() {
    let timeouts = [
        Timeouts::none().write_stall(ms(300)),
        Timeouts::none().write(ms(300)),
    ];
    for timeouts in timeouts {
        let server = Server::start(timeouts, large()).await;
        let began = Instant::now();
        let mut stalled = ask_for_the_large(&server).await;
        server.until_open(1).await;
        server.until_open(0).await;
        let took = began.elapsed();
        assert!(took >= ms(280) && took < ms(1_300), "{took:?}");
        let mut rest = Vec::new();
        let read = within(LIMIT, "the end", stalled.read_to_end(&mut rest)).await;
        assert!(read.is_err() || rest.len() < LARGE);
        drop(stalled);
        server.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pause_shorter_than_the_stall_limit_is_allowed() {
    // The stall timer restarts with each byte, on a reused connection.
    let timeouts = Timeouts::none().read_stall(ms(200)).write_stall(ms(200));
    let setup = Setup::new().timeouts(timeouts);
    let server = setup.start_in_memory(app(how_it_was_read)).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
            .await;
        tokio::time::sleep(ms(190)).await;
        client.send("x").await;
        assert_eq!(client.read_response().await.text(), "2 bytes");
        tokio::time::sleep(ms(190)).await;
    }
    drop(client);
    server.finish().await;
}
