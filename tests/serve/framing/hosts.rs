//! One valid host for one request (RFC 9112, 3.2; RFC 9113, 8.3.1).

use super::wire::{H2Answer, Noting, h2_ask};

const INVALID: &[&[u8]] = &[
    b"user@a",
    b"user:secret@a:80",
    b"a/b",
    b"a b",
    b"a:b",
    b"a?b",
    b"a#b",
    b"[::1",
    b"[a]",
    b"::1",
    b"\"",
    b"a\"",
    b"a:65536",
    b"a:80:80",
    b":80",
    b":",
    b"a\\b",
    b"a\x80",
    b"\xc3\xa9",
    b"%zz",
    b"a,b:1,c:2",
    b"[fe80::1%25eth0]",
    b"http://a",
];

#[tokio::test]
async fn invalid_host_is_refused_on_every_version_of_http1() {
    let noting = Noting::start().await;
    for version in ["1.0", "1.1"] {
        for host in INVALID {
            let mut request = format!("GET / HTTP/{version}\r\nhost: ").into_bytes();
            request.extend_from_slice(host);
            request.extend_from_slice(b"\r\n\r\n");
            noting.assert_refused(&request, &[400]).await;
        }
        for two in [
            "host: a\r\nhost: b",
            "host: a\r\nx: y\r\nHOST: a",
            "host: a\r\nhost:",
        ] {
            let request = format!("GET / HTTP/{version}\r\n{two}\r\n\r\n");
            noting.assert_refused(request.as_bytes(), &[400]).await;
        }
    }
    noting
        .assert_refused(b"GET / HTTP/1.1\r\n\r\n", &[400])
        .await;
}

#[tokio::test]
async fn valid_host_is_served() {
    let noting = Noting::start().await;
    for host in [
        "a",
        "a:80",
        "A_b.example:",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "%41",
        "",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        noting
            .assert_served(request.as_bytes(), &format!("GET / {host} 0"))
            .await;
    }
    noting
        .assert_served(b"GET / HTTP/1.0\r\n\r\n", "GET / - 0")
        .await;
}

/// RFC 9112, 3.2.2 prefers the target; a proxy before may have used a `Host` that differs.
#[tokio::test]
async fn absolute_target_and_host_must_agree() {
    let noting = Noting::start().await;
    for (target, host) in [
        ("http://a/x", "a"),
        ("http://A:80/x", "a"),
        ("http://a/x", "a:80"),
        ("https://a:443/x", "a"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        noting
            .assert_served(request.as_bytes(), &format!("GET {target} {host} 0"))
            .await;
    }
    noting
        .assert_served(b"GET http://a/ HTTP/1.0\r\n\r\n", "GET http://a/ - 0")
        .await;
    for (target, host) in [
        ("http://a/x", "b"),
        ("http://a/x", ""),
        ("http://a/x", "a:81"),
        ("http://a:443/x", "a"),
        ("https://a/x", "a:80"),
        ("http://user@a/x", "a"),
        ("http://a:b/x", "a"),
    ] {
        for version in ["1.0", "1.1"] {
            let request = format!("GET {target} HTTP/{version}\r\nhost: {host}\r\n\r\n");
            noting.assert_refused(request.as_bytes(), &[400]).await;
        }
    }
    noting
        .assert_refused(b"GET http://a/ HTTP/1.1\r\n\r\n", &[400])
        .await;
}

/// `:authority`, and the `host` headers beside it.
type Named = (Option<&'static [u8]>, &'static [&'static [u8]]);

fn get<'a>(authority: Option<&'a [u8]>, hosts: &[&'a [u8]]) -> Vec<(&'a str, &'a [u8])> {
    let mut headers: Vec<(&str, &[u8])> =
        vec![(":method", b"GET"), (":scheme", b"http"), (":path", b"/")];
    headers.extend(authority.map(|authority| (":authority", authority)));
    headers.extend(hosts.iter().map(|host| ("host", *host)));
    headers
}

#[tokio::test]
async fn http2_request_needs_exactly_one_host() {
    let noting = Noting::start().await;
    let ok: &[Named] = &[
        (Some(b"a"), &[]),
        (Some(b"a"), &[b"a"]),
        (Some(b"a:80"), &[b"A"]),
        (Some(b"[::1]:1"), &[b"[::1]:1"]),
        (None, &[b"a"]),
    ];
    for (authority, hosts) in ok {
        let answer = h2_ask(&noting.server, &get(*authority, hosts)).await;
        assert_eq!(answer, H2Answer::Status(200), "{authority:?} {hosts:?}");
        assert_eq!(noting.seen().len(), 1);
    }
    let refused: &[Named] = &[
        (None, &[]),
        (Some(b"a"), &[b"b"]),
        (Some(b"a"), &[b"a:81"]),
        (Some(b"a"), &[b"a", b"a"]),
        (Some(b"a"), &[b""]),
        (None, &[b"a", b"b"]),
        (Some(b"user@a"), &[]),
        (Some(b"a:b"), &[]),
        (Some(b"a:99999"), &[]),
    ];
    for (authority, hosts) in refused {
        let answer = h2_ask(&noting.server, &get(*authority, hosts)).await;
        let refused = matches!(answer, H2Answer::Status(400) | H2Answer::Reset(1));
        assert!(refused, "{authority:?} {hosts:?}: {answer:?}");
        assert_eq!(noting.seen(), [""; 0], "{authority:?} {hosts:?}");
    }
    for host in INVALID {
        for headers in [get(None, &[host]), get(Some(b"a"), &[host])] {
            let answer = h2_ask(&noting.server, &headers).await;
            let refused = matches!(answer, H2Answer::Status(400) | H2Answer::Reset(1));
            assert!(refused, "{host:?}: {answer:?}");
        }
    }
    assert_eq!(noting.seen(), [""; 0]);
}
