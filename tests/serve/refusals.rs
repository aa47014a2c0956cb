//! Requests that the server itself refuses, and the ends of requests, as an operator and a client see them.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use lameduck::events::{Event, EventSink};
use lameduck::{Limits, RequestIdLayer, Timeouts};

use crate::support::{Answer, How, Setup, app, ms, reply};

const GOOD: &str = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";

/// Returns the server's refusals in words.
fn refusals(server: &crate::support::Server) -> Vec<String> {
    let reported = server.reported().into_iter();
    reported
        .filter(|line| line.starts_with("refused: "))
        .collect()
}

#[track_caller]
fn assert_says_why(answer: &Answer, status: u16, why: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}");
    assert!(answer.closes(), "{what}");
    assert!(answer.text().contains(why), "{what}: {:?}", answer.text());
    let date = answer.header("date").unwrap_or_default();
    assert!(
        date.len() == 29 && date.ends_with(" GMT"),
        "{what}: {date:?}"
    );
    assert!(answer.header("content-type").is_some(), "{what}");
}

#[tokio::test]
async fn malformed_head_is_refused_with_a_reason_and_one_event() {
    let limits = Limits::default().max_header_bytes(2048);
    let server = Setup::new()
        .limits(limits)
        .start(app(|_| async { reply(200, "") }))
        .await;
    let long = "a".repeat(4096);
    let mut hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec();
    hello.extend([0; 160]);
    let fields: String = (0..101).map(|n| format!("x{n}: 1\r\n")).collect();
    let cases: [(&str, Vec<u8>, u16, &str, &str); 8] = [
        (
            "a space in the target",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            400,
            "malformed",
            "malformed GET /a",
        ),
        (
            "a space before the colon",
            "POST /b?c HTTP/1.1\r\nhost : a\r\n\r\n".into(),
            400,
            "malformed",
            "malformed POST /b",
        ),
        ("garbage", vec![0xff; 64], 400, "malformed", "malformed"),
        (
            "a TLS ClientHello",
            hello,
            400,
            "TLS handshake",
            "tls_on_plain_port",
        ),
        (
            "almost a preface",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".into(),
            400,
            "HTTP/2",
            "bad_preface",
        ),
        (
            "a long field",
            format!("GET /c HTTP/1.1\r\nx: {long}\r\n\r\n").into(),
            431,
            "header fields",
            "head_too_large GET /c",
        ),
        (
            "many fields",
            format!("GET /d HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into(),
            431,
            "header fields",
            "head_too_large GET /d",
        ),
        (
            "a long target",
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").into(),
            414,
            "target",
            "target_too_long GET /aaa",
        ),
    ];
    let mut expected = 0;
    for (what, bytes, status, why, event) in &cases {
        for after_a_good_one in [false, true] {
            let mut client = server.connect().await;
            if after_a_good_one {
                assert_eq!(client.ask(GOOD).await.status, 200);
            }
            client.send(bytes).await;
            let ending = client.read_until_close().await;
            assert_eq!(ending.how, How::Fin, "{what}");
            assert_says_why(&ending.answer(), *status, why, what);
            expected += 1;
            drop(client);
            server.until_open(0).await;
            let refusals = refusals(&server);
            assert_eq!(
                refusals.len(),
                expected,
                "{what}: one event each: {refusals:?}"
            );
            let last = &refusals[expected - 1];
            assert!(
                last.starts_with(&format!("refused: {event}")),
                "{what}: {last}"
            );
            assert!(last.contains("(127.0.0.1:"), "{what}: {last}");
            assert!(last.len() < 400, "{what}: {last}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn malformed_head_is_refused_behind_earlier_answers() {
    let server = Setup::new()
        .start(app(|_| async { reply(200, "hello") }))
        .await;
    let mut client = server.connect().await;
    client
        .send(format!("{GOOD}{GOOD}GET / HTTP/1.1\r\nbad header\r\n\r\n"))
        .await;
    let ending = client.read_until_close().await;
    let answers = ending.answers();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 400], "{}", ending.text());
    assert_says_why(&answers[2], 400, "malformed", "the third");
    assert_eq!(refusals(&server).len(), 1);
    server.finish().await;
}

#[tokio::test]
async fn refusal_is_whole_for_a_head_in_any_pieces() {
    let server = Setup::new().start(app(|_| async { reply(200, "") })).await;
    let bad = b"GET /a b HTTP/1.1\r\naccept: application/json\r\n\r\n";
    for at in [1, 4, 6, 8, 20] {
        let mut client = server.connect().await;
        client.send(&bad[..at]).await;
        tokio::time::sleep(ms(5)).await;
        // The head may be refused before its rest is sent.
        let _ = client.try_send(&bad[at..]).await;
        let answer = client.read_until_close().await.answer();
        assert_eq!(answer.status, 400, "split at {at}");
        assert_eq!(
            refusals(&server).last().unwrap().split(' ').nth(1),
            Some("malformed")
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn refusal_has_the_form_the_client_accepts() {
    let server = Setup::new().start(app(|_| async { reply(200, "") })).await;
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nAccept: application/json\r\nbad : x\r\n\r\n")
        .await;
    let answer = client.read_until_close().await.answer();
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert!(
        answer.text().contains("\"status\":400"),
        "{}",
        answer.text()
    );

    let mut client = server.connect().await;
    client.send("HEAD / HTTP/1.1\r\nbad : x\r\n\r\n").await;
    let ending = client.read_until_close().await;
    assert!(
        ending.text().ends_with("\r\n\r\n"),
        "no body: {}",
        ending.text()
    );
    server.finish().await;
}

#[tokio::test]
async fn partial_head_is_refused_with_a_date_and_reported_as_far_as_read() {
    let timeouts = Timeouts::none().read_header(ms(200));
    let server = Server::start(timeouts).await;
    for (half, named) in [
        ("GET /half?secret HTTP/1.1\r\nho", " GET /half ("),
        ("GET /sho", " GET /sho ("),
        ("G", " (127.0.0.1:"),
    ] {
        let mut client = server.connect().await;
        client.send(half).await;
        let ending = client.read_until_close().await;
        assert_says_why(&ending.answer(), 408, "in time", half);
        let reported = refusals(&server);
        let last = reported.last().unwrap();
        assert!(last.contains(named) && !last.contains("secret"), "{last}");
    }
    server.finish().await;
}

struct Server;

impl Server {
    async fn start(timeouts: Timeouts) -> crate::support::Server {
        crate::support::Server::start(timeouts, app(|_| async { reply(200, "") })).await
    }
}

/// The server's own events carry what its layers have learnt.
#[tokio::test]
async fn deadline_event_names_the_id_and_client_found_by_layers() {
    use lameduck::RealIpLayer;
    use tower::Layer;
    let hangs = tower::service_fn(|_: Request<lameduck::serve::RequestBody>| {
        std::future::pending::<Result<Response<crate::support::Body>, std::convert::Infallible>>()
    });
    let real_ip = RealIpLayer::new("loopback".parse().unwrap());
    let hangs = RequestIdLayer::new().layer(real_ip.layer(hangs));
    let timeouts = Timeouts::none().write(ms(200));
    let server = crate::support::Server::start(timeouts, hangs).await;
    let mut client = server.connect().await;
    let head = "GET /hangs HTTP/1.1\r\nhost: a\r\nx-request-id: r7\r\nx-forwarded-for: 203.0.113.9\r\n\r\n";
    assert_eq!(client.ask(head).await.status, 503);
    let reported = server.reported();
    for kind in [
        "timeout write GET /hangs (127.0.0.1:",
        "refused: handler_timeout GET /hangs (127.0.0.1:",
    ] {
        let event = reported.iter().find(|line| line.starts_with(kind));
        let event = event.unwrap_or_else(|| panic!("{kind}: {reported:?}"));
        assert!(event.ends_with(", client 203.0.113.9, id r7)"), "{event}");
    }
}

/// An incomplete head is not named after the request before it.
#[tokio::test]
async fn partial_head_is_not_reported_as_the_previous_request() {
    let timeouts = Timeouts::none().read_header(ms(200));
    let server = Server::start(timeouts).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GOOD).await.status, 200);
    client.send("GE").await;
    assert_eq!(client.read_until_close().await.answer().status, 408);
    let named: Vec<_> = server
        .reported()
        .into_iter()
        .filter(|line| line.contains("/good"))
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

/// A dual-stack listener sees IPv4 clients as `::ffff:a.b.c.d`: they are written as IPv4 everywhere.
#[tokio::test]
async fn dual_stack_listener_reports_ipv4_as_ipv4() {
    use std::net::{Ipv6Addr, SocketAddr};
    let socket = tokio::net::TcpSocket::new_v6().unwrap();
    if socket.bind((Ipv6Addr::UNSPECIFIED, 0).into()).is_err() {
        return; // a host without IPv6
    }
    let listener = socket.listen(16).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let (seen, shutdown) = (reported.clone(), lameduck::Shutdown::new().signals(false));
    let handle = shutdown.handle();
    let app = app(
        |request: Request<lameduck::serve::RequestBody>| async move {
            let info = request
                .extensions()
                .get::<lameduck::ConnInfo>()
                .copied()
                .unwrap();
            reply(
                200,
                format!("{} {}", info.peer.unwrap().ip(), info.local.unwrap().ip()),
            )
        },
    );
    let events =
        EventSink::to(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()));
    let serve = lameduck::serve(listener, app)
        .events(events)
        .shutdown(shutdown);
    let server = tokio::spawn(serve.into_future());
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(stream) = tokio::net::TcpStream::connect(to).await else {
        return; // IPv6 only
    };
    let mut client = crate::support::Raw::over(stream);
    assert_eq!(client.ask(GOOD).await.text(), "127.0.0.1 127.0.0.1");
    client.send("bad\r\n\r\n").await;
    client.read_until_close().await;
    drop(client);
    handle.drain_now();
    crate::support::within(crate::support::LIMIT, "the end", server)
        .await
        .unwrap()
        .unwrap();
    let reported = reported.lock().unwrap();
    assert!(
        reported.iter().any(|line| line.contains("(127.0.0.1:")),
        "{reported:?}"
    );
    assert!(
        !reported.iter().any(|line| line.contains("ffff")),
        "{reported:?}"
    );
}

/// Errors that h2 detects end in a GOAWAY, and are reported; a client that leaves is no error.
#[tokio::test]
async fn http2_error_is_reported_once_and_a_close_is_not() {
    let server = Setup::new().start(app(|_| async { reply(200, "") })).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut leaves = server.connect().await;
    leaves.send(preface).await;
    drop(leaves);
    server.until_open(0).await;
    assert_eq!(refusals(&server), Vec::<String>::new());
    let mut breaks = server.connect().await;
    breaks.send(preface).await;
    // DATA on stream 0 (RFC 9113, 6.1).
    breaks.send(b"\0\0\x01\0\0\0\0\0\0x").await;
    breaks.read_until_close().await;
    drop(breaks);
    server.until_open(0).await;
    let refusals = refusals(&server);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0].starts_with("refused: http2_error (127.0.0.1:"),
        "{refusals:?}"
    );
    server.finish().await;
}
