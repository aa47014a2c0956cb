use super::*;
use http::{Method, Request, Version};

fn ask(version: Version, headers: &[(&str, &str)]) -> Response<Bytes> {
    ask_by(Method::POST, version, headers)
}

fn ask_by(method: Method, version: Version, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::builder().method(method).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    let format = ReplyFormat::of(&request);
    Reply::new(RefusalReason::Draining)
        .retry_after(Duration::from_secs(2))
        .answer(format, request.into_parts().0.headers)
}

#[test]
fn http1_refusals_close_and_http2_refusals_do_not() {
    let one = ask(Version::HTTP_11, &[("cookie", "kept=private")]);
    assert_eq!(one.status(), 503);
    assert_eq!(one.headers()["connection"], "close");
    assert_eq!(one.headers()["retry-after"], "2");
    assert!(
        one.headers().get("cookie").is_none(),
        "nothing of the request comes back"
    );
    let two = ask(Version::HTTP_2, &[]);
    assert_eq!(two.status(), 503);
    assert!(two.headers().get("connection").is_none());
}

#[test]
fn grpc_gets_trailers_only_in_its_own_content_type() {
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "Application/gRPC;x=y",
    ] {
        let reply = ask(Version::HTTP_2, &[("content-type", kind)]);
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["content-type"], kind);
        assert_eq!(reply.headers()["grpc-status"], "14");
        assert_eq!(reply.headers()["grpc-retry-pushback-ms"], "2000");
        assert!(reply.headers().get("retry-after").is_none());
        assert!(reply.body().is_empty());
    }
    let not = ask(Version::HTTP_2, &[("content-type", "application/grpcish")]);
    assert_eq!(not.status(), 503);
}

/// A gRPC refusal is a 200: a cache may keep it as the response to a GET, and in response to a CONNECT it is an open
/// tunnel.
#[test]
fn only_a_post_is_refused_with_200() {
    for method in [Method::GET, Method::HEAD, Method::CONNECT, Method::PUT] {
        let headers = [("content-type", "application/grpc")];
        let reply = ask_by(method.clone(), Version::HTTP_2, &headers);
        assert_eq!(reply.status(), 503, "{method}");
        assert!(reply.headers().get("grpc-status").is_none());
    }
}

#[test]
fn json_is_sent_on_request_only() {
    for accept in [
        "application/json",
        "text/html, Application/JSON;q=0.8",
        "application/problem+json",
        "application/json, text/plain, */*",
        "application/*, text/plain;q=0.5",
        "application/json;q=0, application/problem+json",
    ] {
        let reply = ask(Version::HTTP_11, &[("accept", accept)]);
        assert_eq!(reply.headers()["content-type"], "application/problem+json");
        let body = std::str::from_utf8(reply.body()).unwrap();
        assert!(body.contains(r#""status":503"#), "{body}");
    }
    for accept in [
        "*/*",
        "text/html, */*;q=0.8",
        "application/json;q=0",
        "application/json;q=0, application/problem+json;q=0.0, */*",
        "text/plain, application/json;q=0.9",
        "application/json;q=0.5, */*",
        "application/vnd.json-like",
        "text/*, application/*;q=0.2",
    ] {
        let text = ask(Version::HTTP_11, &[("accept", accept)]);
        let kind = &text.headers()["content-type"];
        assert_eq!(kind, "text/plain; charset=utf-8", "{accept}");
    }
    let lines = [
        ("accept", "text/plain;q=0.5"),
        ("accept", "application/json;q=0.6"),
    ];
    let two = ask(Version::HTTP_11, &lines);
    assert_eq!(two.headers()["content-type"], "application/problem+json");
}

#[test]
fn each_row_agrees_with_itself() {
    for &reason in RefusalReason::ALL {
        let row = reason.row();
        assert!(
            row.problem
                .contains(&format!("\"status\":{}", row.status.as_u16())),
            "{reason}"
        );
        assert!(
            row.problem.contains(row.status.canonical_reason().unwrap()),
            "{reason}"
        );
        assert_eq!(row.text.trim_end(), row.grpc_message);
        assert!(
            row.grpc_message
                .bytes()
                .all(|b| (0x20..=0x7e).contains(&b) && b != b'%')
        );
        assert!(!row.problem.contains('\\'));
    }
}

#[test]
fn retry_after_is_rounded_up_and_never_zero() {
    for (wait, seconds, millis) in [
        (0, "1", "1"),
        (1, "1", "1"),
        (1000, "1", "1000"),
        (1001, "2", "1010"),
        (u64::MAX, "999000000000", "999000000000"),
    ] {
        let reply = Reply::new(RefusalReason::Draining).retry_after(Duration::from_millis(wait));
        let retry = reply.retry_after.unwrap();
        assert_eq!(
            (
                digits::seconds(retry).to_str().unwrap(),
                digits::millis(retry).to_str().unwrap()
            ),
            (seconds, millis)
        );
    }
    let never = Reply::new(RefusalReason::Draining).retry_after(Duration::MAX);
    assert_eq!(digits::seconds(never.retry_after.unwrap()), "999000000000");
}
