//! The server owns the framing of a response, whatever headers the service sets.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use crate::support::*;

/// Builds a service that answers as the request's `x-answer` says: the status, `full`, `stream` or `empty`, and
/// headers.
fn service() -> App {
    app(|request: Request<RequestBody>| async move {
        let Some(wanted) = request.headers().get("x-answer") else {
            return reply(200, "ok");
        };
        let wanted = wanted.to_str().unwrap().to_owned();
        let mut words = wanted.split(' ');
        let status = words.next().unwrap().parse().unwrap();
        let body = match words.next().unwrap() {
            "full" => full("hello"),
            "empty" => empty(),
            pieces => {
                let (mut sender, body) = channel();
                let pieces: Vec<_> = pieces
                    .split(',')
                    .map(|piece| Bytes::from(piece.to_owned()))
                    .collect();
                for piece in pieces {
                    sender.try_send(http_body::Frame::data(piece)).unwrap();
                }
                body
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for header in words {
            let (name, value) = header.split_once('=').unwrap();
            let value = HeaderValue::from_str(&value.replace('+', " ")).unwrap();
            response
                .headers_mut()
                .append(HeaderName::try_from(name).unwrap(), value);
        }
        response
    })
}

fn faults(server: &Server) -> Vec<String> {
    let reported = server.reported().into_iter();
    reported
        .filter(|line| line.starts_with("the service failed: the response"))
        .collect()
}

#[track_caller]
fn assert_faults(server: &Server, count: usize, answer: &str) {
    let faults = faults(server);
    assert_eq!(faults.len(), count, "{answer}: {faults:?}");
}

fn h2_request(method: Method, answer: &str) -> Request<()> {
    let request = Request::builder().method(method).uri("http://a/");
    request.header("x-answer", answer).body(()).unwrap()
}

fn request(method: &str, answer: &str) -> String {
    format!("{method} / HTTP/1.1\r\nhost: a\r\nx-answer: {answer}\r\n\r\n")
}

/// Cases: the answer, its status and body, a required header and a forbidden one.
const CORRECTED: &[(&str, u16, &str, &str, &str)] = &[
    (
        "200 full content-length=3",
        200,
        "hello",
        "content-length: 5",
        "",
    ),
    (
        "200 full content-length=7",
        200,
        "hello",
        "content-length: 5",
        "",
    ),
    (
        "200 full content-length=x",
        200,
        "hello",
        "content-length: 5",
        "",
    ),
    (
        "200 full content-length=+5,+5",
        200,
        "hello",
        "content-length: 5",
        "5, 5",
    ),
    (
        "200 full content-length=5 content-length=6",
        200,
        "hello",
        "content-length: 5",
        "",
    ),
    (
        "200 empty content-length=5",
        200,
        "",
        "content-length: 0",
        "",
    ),
    (
        "200 full transfer-encoding=chunked",
        200,
        "hello",
        "content-length: 5",
        "transfer-encoding",
    ),
    (
        "200 full transfer-encoding=chunked content-length=5",
        200,
        "hello",
        "content-length: 5",
        "transfer-encoding",
    ),
    (
        "200 full transfer-encoding=gzip,+chunked",
        200,
        "hello",
        "content-length: 5",
        "gzip",
    ),
    (
        "200 hel,lo transfer-encoding=gzip",
        200,
        "hello",
        "transfer-encoding: chunked",
        "gzip",
    ),
    ("204 full", 204, "", "", "content-length"),
    (
        "204 full content-length=5 transfer-encoding=chunked",
        204,
        "",
        "",
        "content-length",
    ),
    ("205 full", 205, "", "content-length: 0", ""),
    (
        "205 hel,lo content-length=5",
        205,
        "",
        "content-length: 0",
        "",
    ),
    (
        "304 full content-length=5",
        304,
        "",
        "content-length: 5",
        "",
    ),
    ("304 hel,lo", 304, "", "", "transfer-encoding"),
    ("100 full", 500, "the server failed to answer\n", "", ""),
    ("103 empty", 500, "the server failed to answer\n", "", ""),
    (
        "101 empty upgrade=x connection=upgrade",
        500,
        "the server failed to answer\n",
        "",
        "upgrade",
    ),
    (
        "200 full connection=keep-alive,+x-hop x-hop=1",
        200,
        "hello",
        "content-length: 5",
        "x-hop",
    ),
    (
        "200 full keep-alive=timeout=5",
        200,
        "hello",
        "content-length: 5",
        "keep-alive",
    ),
    (
        "200 full upgrade=h2c connection=Upgrade",
        200,
        "hello",
        "content-length: 5",
        "upgrade",
    ),
];

/// Faults are corrected and reported once, and the next request of the connection is answered in step.
#[tokio::test]
async fn wrong_framing_is_corrected_on_http1() {
    let server = Server::start(Timeouts::default(), service()).await;
    for (answer, status, body, has, has_not) in CORRECTED {
        let before = faults(&server).len();
        let mut client = server.connect().await;
        let pipelined =
            request("GET", answer) + "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.send(pipelined).await;
        let ending = client.read_until_close().await;
        let text = ending.text();
        let end = text.find("\r\n\r\n").unwrap_or_default();
        let (head, _) = text.split_at(end);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}: {text}"
        );
        assert!(head.contains(has), "{answer}: {text}");
        assert!(
            has_not.is_empty() || !head.contains(has_not),
            "{answer}: {text}"
        );
        let answers = ending.answers();
        assert_eq!(answers.len(), 2, "{answer}: {text}");
        assert_eq!(
            (answers[0].text().as_str(), answers[1].text().as_str()),
            (*body, "ok"),
            "{answer}"
        );
        assert_faults(&server, before + 1, answer);
    }
}

#[tokio::test]
async fn wrong_framing_is_corrected_on_http2() {
    let server = Server::start(Timeouts::default(), service()).await;
    let (mut sender, connection, _heard) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    for (answer, status, body, ..) in CORRECTED {
        let before = faults(&server).len();
        let request = h2_request(Method::GET, answer);
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = within(LIMIT, answer, response).await.expect(answer);
        assert_eq!(response.status().as_u16(), *status, "{answer}");
        let length = response.headers().get("content-length").cloned();
        let mut stream = response.into_body();
        let mut seen = Vec::new();
        while let Some(data) = within(LIMIT, answer, stream.data()).await {
            seen.extend_from_slice(&data.expect(answer));
        }
        assert_eq!(String::from_utf8_lossy(&seen), *body, "{answer}");
        if let Some(length) = length.filter(|_| *status != 304) {
            assert_eq!(length, seen.len().to_string().as_str(), "{answer}");
        }
        assert_faults(&server, before + 1, answer);
    }
}

/// A stream of unknown length that contradicts its `Content-Length` is broken off visibly.
#[tokio::test]
async fn stream_with_a_wrong_length_is_broken_off() {
    let server = Server::start(Timeouts::default(), service()).await;
    for answer in [
        "200 hel,lo content-length=4",
        "200 hello content-length=4",
        "200 hel,lo content-length=3",
        "200 hel,lo content-length=6",
        "200 hello content-length=6",
    ] {
        let before = faults(&server).len();
        let mut client = server.connect().await;
        client.send(request("GET", answer)).await;
        let ending = client.read_until_close_for(LIMIT).await;
        assert_eq!(ending.how, How::Reset, "{answer}: {:?}", ending.text());
        assert_faults(&server, before + 1, answer);

        let (mut sender, connection, _heard) = h2_connect(server.addr).await;
        tokio::spawn(connection);
        let request = h2_request(Method::GET, answer);
        let (response, _) = sender.send_request(request, true).unwrap();
        let ended = async {
            let mut body = response.await?.into_body();
            while let Some(data) = body.data().await {
                data?;
            }
            Ok::<_, h2::Error>(())
        };
        assert!(within(LIMIT, answer, ended).await.is_err(), "{answer}");
        assert_faults(&server, before + 2, answer);
    }
}

/// Only the end of a body is its end, whatever the length of its pieces.
#[tokio::test]
async fn empty_piece_does_not_end_the_body() {
    let server = Server::start(Timeouts::default(), service()).await;
    let (mut sender, connection, _heard) = h2_connect(server.addr).await;
    tokio::spawn(connection);
    for answer in [
        "200 ,hello",
        "200 hel,,lo",
        "200 hel,,lo content-length=5",
        "200 hel,,,lo,",
    ] {
        let mut client = server.connect().await;
        let response = client.ask(request("GET", answer)).await;
        assert_eq!(response.text(), "hello", "{answer}");

        let request = h2_request(Method::GET, answer);
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = within(LIMIT, answer, response).await.expect(answer);
        let mut stream = response.into_body();
        let mut seen = Vec::new();
        while let Some(data) = within(LIMIT, answer, stream.data()).await {
            seen.extend_from_slice(&data.expect(answer));
        }
        assert_eq!(String::from_utf8_lossy(&seen), "hello", "{answer}");
    }
    assert_eq!(faults(&server), [""; 0]);
}

#[tokio::test]
async fn correct_framing_is_left_alone() {
    let server = Server::start(Timeouts::default(), service()).await;
    for (answer, has) in [
        ("200 full content-length=5", "content-length: 5"),
        ("200 full", "content-length: 5"),
        ("200 hel,lo content-length=5", "content-length: 5"),
        ("200 hel,lo", "transfer-encoding: chunked"),
        ("200 full connection=keep-alive", "content-length: 5"),
        ("426 full upgrade=x connection=upgrade", "upgrade: x"),
        ("304 empty content-length=9", "content-length: 9"),
        ("204 empty", "204"),
        ("200 hello trailer=x", "trailer: x"),
        // The body may be empty.
        ("200 hello content-length=0", "transfer-encoding: chunked"),
    ] {
        let mut client = server.connect().await;
        let response = client.ask(request("GET", answer)).await;
        let head = format!("{} {:?}", response.status, response.headers).replace("\", \"", ": ");
        assert!(head.contains(has), "{answer}: {head}");
        assert!(!response.closes(), "{answer}: {head}");
    }
    let mut client = server.connect().await;
    client
        .send(request("GET", "200 full connection=close"))
        .await;
    let ending = client.read_until_close().await;
    assert!(ending.answer().closes() && ending.how == How::Fin);
    assert_eq!(faults(&server), [""; 0]);
}

/// RFC 9110, 9.3.2: the answer has no body, and the `Content-Length` of a GET.
#[tokio::test]
async fn head_has_no_body_and_keeps_its_length() {
    let server = Server::start(Timeouts::default(), service()).await;
    let cases = [
        ("200 full", Some("5")),
        ("200 full content-length=5", Some("5")),
        ("200 empty content-length=9", Some("9")),
        ("200 hel,lo content-length=5", Some("5")),
        ("200 hel,lo", None),
    ];
    for (answer, length) in cases {
        let mut client = server.connect().await;
        let both =
            request("HEAD", answer) + "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.send(both).await;
        let text = client.read_until_close().await.text();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(found, length, "{answer}: {text}");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}: {text}");

        let (mut sender, connection, heard) = h2_connect(server.addr).await;
        tokio::spawn(connection);
        let request = h2_request(Method::HEAD, answer);
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = within(LIMIT, answer, response).await.expect(answer);
        let found = response
            .headers()
            .get("content-length")
            .map(|found| found.to_str().unwrap());
        assert_eq!(found, length, "{answer}");
        assert!(
            within(LIMIT, answer, response.into_body().data())
                .await
                .is_none(),
            "{answer}"
        );
        assert!(heard.first(kind::DATA, 1).is_none(), "{answer}");
    }
    assert_eq!(faults(&server), [""; 0]);
}

/// An answer that closes says `close`; one that is kept says `keep-alive` to a client of HTTP/1.0.
#[tokio::test]
async fn http10_connection_header_matches_what_the_server_does() {
    let server = Server::start(Timeouts::default(), service()).await;
    for (answer, connection) in [
        ("200 full", "keep-alive"),
        ("200 full connection=close", "close"),
        ("200 hel,lo", "close"),
        ("200 hel,lo content-length=5", "keep-alive"),
    ] {
        let mut client = server.connect().await;
        let request =
            format!("GET / HTTP/1.0\r\nconnection: keep-alive\r\nx-answer: {answer}\r\n\r\n");
        client.send(request).await;
        client.finish_sending().await;
        let ending = client.read_until_close().await;
        let got = ending.answer();
        let all: Vec<_> = got
            .headers
            .iter()
            .filter(|(name, _)| name == "connection")
            .collect();
        assert_eq!(all.len(), 1, "{answer}: {all:?}");
        assert_eq!(
            (all[0].1.as_str(), got.text().as_str()),
            (connection, "hello"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn tunnel_answer_has_no_length() {
    let server = Server::start(Timeouts::default(), service()).await;
    for answer in [
        "200 full content-length=5",
        "200 full transfer-encoding=chunked",
        "200 hel,lo",
    ] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nx-answer: {answer}\r\n\r\n"
            ))
            .await;
        let ending = client.read_until_close_for(ms(300)).await;
        let text = ending.text();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"),
            "{answer}: {text}"
        );
        assert!(
            !text.contains("content-length") && !text.contains("transfer-encoding"),
            "{answer}: {text}"
        );
    }
}

#[tokio::test]
async fn unfinished_body_does_not_delay_a_head_response() {
    // An endless body must not be waited for.
    let service = app(|_: Request<RequestBody>| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        Response::new(body.boxed_unsync())
    });
    let server = Server::start(Timeouts::default(), service).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            use tokio::io::AsyncReadExt;
            let read = client.stream().read_buf(&mut head);
            assert!(within(LIMIT, "the head", read).await.unwrap() > 0);
        }
    }
}
