//! The server and the [reference](super::reference) read the same bytes, whichever way they are cut: they agree on
//! the requests and where each body ends, or the server has closed.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::Timeouts;
use lameduck::serve::{RequestBody, serve_connection_with_timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reference::{self, Reading};

/// A request that reached the service.
#[derive(Debug)]
struct Served {
    method: String,
    path: String,
    host: Option<Vec<u8>>,
    /// The body, if it was read to an end.
    body: Option<Bytes>,
}

type Seen = Arc<Mutex<Vec<Served>>>;

/// Answers a request; the mode and its number decide what happens to the body.
async fn answer(seen: Seen, mode: usize, request: Request<RequestBody>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let index = {
        let mut seen = seen.lock().unwrap();
        seen.push(Served {
            method: head.method.to_string(),
            path: head
                .uri
                .path_and_query()
                .map_or(String::new(), ToString::to_string),
            host: head
                .headers
                .get("host")
                .map(|host| host.as_bytes().to_vec()),
            body: None,
        });
        seen.len() - 1
    };
    let read = move |body: RequestBody| async move {
        if let Ok(whole) = body.collect().await {
            seen.lock().unwrap()[index].body = Some(whole.to_bytes());
        }
    };
    match (mode + index * 7) % 6 {
        0 | 1 => read(body).await,
        2 => drop(body),
        3 => {
            let _ = body.frame().await;
        }
        way => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if way == 4 {
                    read(body).await;
                }
            });
        }
    }
    Response::new(Full::from("ok"))
}

/// Sends `input`, cut at `cuts`, to a server whose service is in this `mode`, and compares. Call it with a paused
/// clock.
///
/// # Panics
///
/// The server and the reference disagree, or the server does not end.
pub async fn compare(input: &[u8], cuts: &[usize], mode: usize) {
    let seen = Seen::default();
    let note = seen.clone();
    let service = tower::service_fn(move |request| {
        let answer = answer(note.clone(), mode, request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let (mut client, io) = tokio::io::duplex(1 << 20);
    let connection = serve_connection_with_timeouts(io, service, Timeouts::default()).unwrap();
    let connection = tokio::spawn(connection);
    let mut from = 0;
    for to in cuts.iter().copied().chain([input.len()]) {
        let to = to.clamp(from, input.len());
        if client.write_all(&input[from..to]).await.is_err() {
            break;
        }
        from = to;
        // The clock stands still until there is nothing else to do.
        tokio::time::sleep(Duration::from_micros(1200)).await;
    }
    // The server has closed, or waits for more.
    let mut output = Vec::new();
    let quiet = Duration::from_millis(700);
    let closed = loop {
        match tokio::time::timeout(quiet, client.read_buf(&mut output)).await {
            Err(_) => break false,
            Ok(read) => {
                if !read.is_ok_and(|length| length > 0) {
                    break true;
                }
            }
        }
    };
    let _ = client.shutdown().await;
    let rest = client.read_to_end(&mut output);
    let ended = tokio::time::timeout(Duration::from_secs(600), rest).await;
    assert!(ended.is_ok(), "the server does not end");
    connection.await.expect("the connection does not panic");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let served = std::mem::take(&mut *seen.lock().unwrap());
    // A preface is another protocol's.
    if !input.starts_with(b"PRI * HTTP/2.0\r\n") {
        check(&reference::read(input), &served, &output, closed);
    }
}

fn check(expected: &[Reading], served: &[Served], output: &[u8], closed: bool) {
    let text = String::from_utf8_lossy(output);
    assert!(
        served.len() <= expected.len(),
        "more requests than there are: {served:?} of {expected:?}"
    );
    let mut inexact = false;
    for (is, right) in served.iter().zip(expected) {
        let target = right
            .target
            .split(|byte| *byte == b'#')
            .next()
            .unwrap_or_default();
        let path = is.path.as_bytes();
        let same = target.ends_with(path)
            || is.path.starts_with("/?") && target.ends_with(&path[1..])
            || is.path == "/";
        assert!(
            is.method == right.method && is.host == right.host && same,
            "another request: {is:?} for {right:?}"
        );
        match (&is.body, &right.body) {
            (Some(is), Some(right)) => assert_eq!(is, right, "another body"),
            // The data ended, and the bytes in the place of trailers do not: the request is the last of its connection.
            (Some(_), None) => inexact = true,
            (None, _) => {}
        }
    }
    let answers = answers(output, served);
    assert!(
        answers.len() >= served.len().saturating_sub(1),
        "an answer is missing: {text:?}"
    );
    assert!(
        answers.len() <= served.len() + 1,
        "an answer too many: {text:?}"
    );
    if let Some(early) = answers.iter().rev().skip(1).position(|closes| *closes) {
        panic!("an answer behind one that closes, {early} from the end: {text:?}");
    }
    let lost = inexact || served.len() < expected.len();
    assert!(
        !lost || closed,
        "requests are lost: {served:?} of {expected:?}, {text:?}"
    );
}

/// Returns for each final answer, whether it closes its connection.
fn answers(output: &[u8], served: &[Served]) -> Vec<bool> {
    let (mut rest, mut answers) = (output, Vec::new());
    while !rest.is_empty() {
        let end = rest
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a whole head")
            + 4;
        let head = std::str::from_utf8(&rest[..end]).expect("a head of ASCII");
        let status = head.strip_prefix("HTTP/1.").expect("a status line");
        rest = &rest[end..];
        if status[2..].starts_with("100") {
            continue;
        }
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let length: usize =
            header("content-length:").map_or(0, |length| length.parse().expect("a length"));
        // The refusal of a HEAD is the last answer, and its method is not known here.
        let to_head = match served.get(answers.len()) {
            Some(served) => served.method == "HEAD",
            None => rest.is_empty(),
        };
        if !to_head {
            rest = rest.get(length..).expect("a whole body");
        }
        let old = status.starts_with('0') && header("connection:") != Some("keep-alive");
        answers.push(old || header("connection:") == Some("close"));
    }
    answers
}
