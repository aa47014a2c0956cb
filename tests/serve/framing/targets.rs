//! Targets that fit their method, and bodies whose end can be read in one way only.

use http::Method;
use lameduck::Timeouts;

use super::wire::{H2Answer, Noting, h2_ask};
use crate::support::*;

#[tokio::test]
async fn target_that_does_not_fit_its_method_is_refused() {
    let noting = Noting::start().await;
    for line in [
        "GET a:443",
        "GET read",
        "GET *",
        "POST *",
        "HEAD a",
        "GET a/b",
        "GET ftp://a/",
        "GET HTTP",
        "GET http:/a",
        "OPTIONS a:1",
        "OPTIONS **",
        "GET /é",
        "GET /?é",
        "GET http://a/é",
        "CONNECT /",
        "CONNECT *",
        "CONNECT a",
        "CONNECT a:",
        "CONNECT a:0",
        "CONNECT a:x",
        "CONNECT a:65536",
        "CONNECT user@a:1",
        "CONNECT http://a:1/",
        "CONNECT a:1/x",
        "CONNECT :1",
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        noting.assert_refused(request.as_bytes(), &[400]).await;
    }
    noting
        .assert_refused(b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", &[400])
        .await;
    noting
        .assert_refused(b"CONNECT b:1 HTTP/1.1\r\nhost: a\r\n\r\n", &[400])
        .await;
}

#[tokio::test]
async fn target_that_fits_its_method_is_served() {
    let noting = Noting::start().await;
    for (line, seen) in [
        ("OPTIONS *", "OPTIONS * a 0"),
        ("OPTIONS /x", "OPTIONS /x a 0"),
        ("GET //x", "GET //x a 0"),
        ("GET /a:443", "GET /a:443 a 0"),
        ("GET /*", "GET /* a 0"),
        ("GET /x?y=http://b/", "GET /x?y=http://b/ a 0"),
        ("GET http://a", "GET http://a/ a 0"),
        ("GET http://a?x", "GET http://a/?x a 0"),
        ("PURGE /%C3%A9", "PURGE /%C3%A9 a 0"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        noting.assert_served(request.as_bytes(), seen).await;
    }
}

#[tokio::test]
async fn http2_targets_must_fit_their_method() {
    let noting = Noting::start().await;
    let ask = |method: &'static str, path: &'static [u8], scheme: &'static [u8]| {
        let headers: [(&str, &[u8]); 4] = [
            (":method", method.as_bytes()),
            (":scheme", scheme),
            (":authority", b"a"),
            (":path", path),
        ];
        let server = &noting.server;
        async move { h2_ask(server, &headers).await }
    };
    assert_eq!(ask("GET", b"/x", b"https").await, H2Answer::Status(200));
    assert_eq!(ask("OPTIONS", b"*", b"http").await, H2Answer::Status(200));
    assert_eq!(noting.seen().len(), 2);
    let refused: [(&str, &[u8], &[u8]); 9] = [
        ("GET", b"*", b"http"),
        ("GET", b"read", b"http"),
        ("GET", b"a:443", b"http"),
        ("GET", b"http://a/", b"http"),
        ("GET", b"/\xc3\xa9", b"http"),
        ("GET", b"", b"http"),
        ("GET", b"?x", b"http"),
        ("GET", b"/", b"ftp"),
        ("CONNECT", b"/", b"http"),
    ];
    for (method, path, scheme) in refused {
        let answer = ask(method, path, scheme).await;
        let refused = matches!(answer, H2Answer::Status(400) | H2Answer::Reset(1));
        assert!(refused, "{method} {path:?} {scheme:?}: {answer:?}");
    }
    for authority in [b"a".as_slice(), b"a:", b"user@a:1"] {
        let answer = h2_ask(
            &noting.server,
            &[(":method", b"CONNECT"), (":authority", authority)],
        )
        .await;
        let refused = matches!(answer, H2Answer::Status(400) | H2Answer::Reset(1));
        assert!(refused, "CONNECT {authority:?}: {answer:?}");
    }
    assert_eq!(noting.seen(), [""; 0]);
}

/// Bytes behind a CONNECT were meant for the tunnel.
#[tokio::test]
async fn refused_connect_ends_its_connection() {
    let app = app(
        |request: http::Request<lameduck::serve::RequestBody>| async move {
            match *request.method() {
                Method::CONNECT => reply(403, "no tunnel"),
                _ => reply(200, "ok"),
            }
        },
    );
    let server = Server::start(Timeouts::default(), app).await;
    for version in ["1.0", "1.1"] {
        let mut client = server.connect().await;
        let behind = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let request = format!(
            "CONNECT a:443 HTTP/{version}\r\nhost: a:443\r\nconnection: keep-alive\r\n\r\n{behind}"
        );
        client.send(request).await;
        let ending = client.read_until_close().await;
        assert_eq!((ending.answer().status, ending.how), (403, How::Fin));
        assert!(ending.answer().closes(), "{ending:?}");
    }
}

/// RFC 9112, 6.1: a server must not serve a request whose transfer coding it does not understand, and a repeated coding
/// can be decoded in two ways.
#[tokio::test]
async fn only_chunked_transfer_coding_is_accepted() {
    let noting = Noting::start().await;
    let body = "\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let te = "transfer-encoding: ";
    for (codings, statuses) in [
        ("gzip, chunked", &[501_u16][..]),
        ("identity, chunked", &[501]),
        ("deflate;q=1 , CHUNKED", &[501]),
        ("chunked, chunked", &[400]),
        ("chunked,chunked", &[400]),
        (",chunked", &[400]),
        ("chunked, gzip, chunked", &[400]),
        ("x;q=\"chunked, chunked", &[400]),
        ("chunked, ", &[400]),
        ("gzip\r\ntransfer-encoding: chunked", &[400, 501]),
        ("chunked\r\ntransfer-encoding: chunked", &[400]),
        ("\r\ntransfer-encoding: chunked", &[400]),
        ("chunked\r\ntransfer-encoding: identity", &[400]),
        ("chunked;q=1", &[400]),
        ("\x0bchunked", &[400]),
        ("xchunked", &[400]),
    ] {
        for method in ["POST", "GET", "HEAD"] {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n{te}{codings}{body}");
            noting.assert_refused(request.as_bytes(), statuses).await;
        }
    }
    for good in ["chunked", "Chunked", "\t chunked \t"] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{te}{good}{body}");
        noting.assert_served(request.as_bytes(), "POST / a 5").await;
    }
    let old = format!("POST / HTTP/1.0\r\nhost: a\r\n{te}chunked{body}");
    noting.assert_refused(old.as_bytes(), &[400]).await;
}

#[tokio::test]
async fn connect_has_no_body() {
    let noting = Noting::start().await;
    for framing in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let request = format!("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n{framing}");
        noting.assert_refused(request.as_bytes(), &[400]).await;
    }
}
