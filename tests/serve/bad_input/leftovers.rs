//! Bytes behind a request that has failed are no request.

use std::io::Write;
use std::net::TcpStream as StdStream;
use std::sync::{Arc, OnceLock};

use http::Request;
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;
use tokio::net::{TcpSocket, TcpStream};

use super::{Bed, SMUGGLED, Seen, assert_refused, assert_time, chunked, post, requests};
use crate::support::*;

#[tokio::test]
async fn bytes_after_an_oversized_body_are_no_request() {
    let bed = Bed::with(Timeouts::default()).await;
    let more = requests(10_000);
    let body = [requests(1_000_000), more.clone()].concat();
    // The end of a chunked body is not known.
    let chunk = [b"8000\r\n", &requests(0x8000)[..], b"\r\n"].concat();
    let chunks = [chunk.repeat(20), b"0\r\n\r\n".to_vec(), more].concat();
    for path in ["/refuse", "/half"] {
        let ending = bed.send(post(path, 1_000_000, &body)).await;
        assert_refused(&ending, 413, path);
        let ending = bed.send(chunked(path, &chunks)).await;
        assert_refused(&ending, 413, path);
    }
    // The body is dropped after the answer, which therefore could not announce the close.
    for request in [post("/hold", 1_000_000, &body), chunked("/hold", &chunks)] {
        let ending = bed.send(request).await;
        assert_eq!((ending.how, ending.answer().status), (How::Fin, 200));
        assert_time(ending.at, ms(150));
    }
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_a_timed_out_body_are_no_request() {
    let bed = Bed::with(Timeouts::none().read(ms(300))).await;
    let late = requests(50_000);
    // The handler reads the body: it gets the error, and its answer is sent.
    let read = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/read", 50_000, "abc")).await;
        assert_eq!(
            answer.text(),
            "n=3: the request body did not arrive in time"
        );
        assert!(answer.closes());
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
        assert_ne!(ending.how, How::StillOpen);
    };
    // The server discards the body: the answer has been sent already.
    let discarded = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/ignore", 50_000, "abc")).await;
        assert_eq!(answer.status, 200);
        let ending = client.read_until_close().await;
        assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
        assert_time(ending.at, ms(300));
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
    };
    // A task holds the body and does not read it.
    let held = async {
        let mut client = bed.connect().await;
        assert_eq!(client.ask(post("/hold", 50_000, "abc")).await.status, 200);
        let ending = client.read_until_close().await;
        assert_ne!(ending.how, How::StillOpen);
        let _ = client.try_send(&late).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
    };
    tokio::join!(read, discarded, held);
    bed.finish().await;
}

/// The status blames the client, which did not send, and not the service.
#[tokio::test]
async fn service_error_caused_by_a_late_body_gets_408() {
    let good = Seen::default();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let good = good.clone();
        async move {
            match request.uri().path() {
                "/good" => Ok(good.answer(request).await),
                _ => match request.into_body().collect().await {
                    Ok(_) => Err("it always fails".to_owned()),
                    Err(error) => Err(error.to_string()),
                },
            }
        }
    });
    let timeouts = Timeouts::none().read(ms(300));
    let server = Server::start(timeouts, service).await;
    let mut client = server.connect().await;
    client.send(post("/fail", 10, "abc")).await;
    let ending = client.read_until_close().await;
    assert_refused(&ending, 408, "half a body");
    assert_time(ending.at, ms(300));
    let mut client = server.connect().await;
    assert_eq!(client.ask(post("/fail", 3, "abc")).await.status, 500);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn handler_that_ignores_its_late_body_gets_408() {
    let bed = Bed::with(Timeouts::none().read(ms(200)).write(ms(500))).await;
    let ending = bed.send(post("/sleep", 10, "abc")).await;
    assert_refused(&ending, 408, "half a body");
    assert_time(ending.at, ms(500));
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_a_cancelled_handler_are_no_request() {
    let bed = Bed::with(Timeouts::none().write(ms(300))).await;
    let whole = async {
        let mut request = post("/sleep", 1000, requests(1000));
        request.extend_from_slice(SMUGGLED.as_bytes());
        let ending = bed.send(request).await;
        assert_refused(&ending, 503, "a whole body");
        assert_time(ending.at, ms(300));
    };
    let half = async {
        let mut client = bed.connect().await;
        let answer = client.ask(post("/sleep", 1000, "abc")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.closes());
        let _ = client.try_send(requests(10_000)).await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.text(), "");
        assert_ne!(ending.how, How::StillOpen);
    };
    tokio::join!(whole, half);
    bed.finish().await;
}

#[tokio::test]
async fn bytes_after_the_last_answer_are_no_request() {
    let bed = Bed::with(Timeouts::default()).await;
    let ending = bed
        .send(format!(
            "GET /ignore HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{SMUGGLED}"
        ))
        .await;
    assert_refused(&ending, 200, "the client's close");
    let ending = bed
        .send(format!("GET /ignore HTTP/1.0\r\nhost: a\r\n\r\n{SMUGGLED}"))
        .await;
    assert_eq!((ending.how, ending.answer().status), (How::Fin, 200));
    let ending = bed
        .send(format!("GET /close HTTP/1.1\r\nhost: a\r\n\r\n{SMUGGLED}"))
        .await;
    assert_refused(&ending, 200, "the handler's close");
    bed.finish().await;
}

/// A pipelining client goes on sending during its last answer; that must not turn the close into a reset.
#[tokio::test]
async fn pipelining_client_reads_the_last_answer() {
    let bed = Bed::with(Timeouts::default()).await;
    let mut client = bed.connect().await;
    client.send("GET /close HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for round in 0..12 {
        client.sleep_until(ms(50) * round + ms(30)).await;
        client.send(SMUGGLED).await;
    }
    let ending = client.read_until_close().await;
    assert_refused(&ending, 200, "the handler's close");
    drop(client);
    bed.finish().await;
}

/// The length of an answer that a [`narrow`] client has not received when the server closes: a reset would drop the
/// rest, which the kernel still has to send.
const LARGE: usize = 40_000;
const LAST: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Connects with a small receive buffer.
async fn narrow(server: &Server) -> StdStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.addr).await.unwrap();
    stream.into_std().unwrap()
}

/// The next request comes while the last one is answered: the server's last read was before it.
#[tokio::test]
async fn request_that_comes_with_the_last_answer_does_not_reset_it() {
    let sender = Arc::new(OnceLock::<StdStream>::new());
    let sends = sender.clone();
    let handler = app(move |_| {
        // On the server's only thread, which reads nothing before it has answered and closed.
        let mut stream = sends.get().unwrap();
        stream.write_all(SMUGGLED.as_bytes()).unwrap();
        async { reply(200, vec![b'x'; LARGE]) }
    });
    let server = Server::start(Timeouts::default(), handler).await;
    let stream = narrow(&server).await;
    sender.set(stream.try_clone().unwrap()).unwrap();
    let mut client = Raw::over(TcpStream::from_std(stream).unwrap());
    client.send(LAST).await;
    let answer = client.read_until_close().await.answer();
    assert_eq!(answer.body.len(), LARGE);
    // Then as any client that sends no more.
    client.finish_sending().await;
    server.until_open(0).await;
}

/// Two requests come behind the last one: one with it, one after the server has closed.
#[tokio::test]
async fn requests_behind_the_last_one_do_not_reset_its_answer() {
    let handler = app(|_| async { reply(200, vec![b'x'; LARGE]) });
    let server = Server::start(Timeouts::default(), handler).await;
    let stream = narrow(&server).await;
    let mut client = Raw::over(TcpStream::from_std(stream).unwrap());
    client.send(format!("{LAST}{SMUGGLED}")).await;
    tokio::time::sleep(ms(100)).await;
    client.send(SMUGGLED).await;
    let answer = client.read_until_close().await.answer();
    assert_eq!(answer.body.len(), LARGE);
    client.finish_sending().await;
    server.until_open(0).await;
}

#[tokio::test]
async fn panic_halfway_through_a_body_ends_the_connection() {
    let bed = Bed::with(Timeouts::default()).await;
    let ending = bed.send(post("/panic", 1000, requests(500))).await;
    assert_ne!(ending.how, How::StillOpen);
    assert!(ending.answers().iter().all(|answer| answer.status == 500));
    bed.finish().await;
}
