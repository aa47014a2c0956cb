//! A server that records which requests reach its service, and an HTTP/2 client that may send invalid frames.

use std::sync::{Arc, Mutex};

use http::Request;
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::wire::PREFACE;
use crate::support::*;

/// A server whose service reads the body and records `METHOD target host length`.
pub struct Noting {
    pub server: Server,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Noting {
    pub async fn start() -> Noting {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = seen.clone();
        let app = app(move |request: Request<RequestBody>| {
            let note = note.clone();
            async move {
                let (head, body) = request.into_parts();
                let host = head.headers.get("host");
                let host = host.map_or("-", |host| host.to_str().unwrap_or("?"));
                let body = body.collect().await;
                let length = body.map_or(-1, |body| body.to_bytes().len() as i64);
                let line = format!("{} {} {host} {length}", head.method, head.uri);
                note.lock().unwrap().push(line);
                reply(200, "ok")
            }
        });
        let server = Server::start(Timeouts::default(), app).await;
        Noting { server, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Returns everything received for these bytes, until the connection ends.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Ending {
        let mut client = self.server.connect().await;
        let _ = client.try_send(bytes).await;
        client.read_until_close().await
    }

    /// Asserts that `request` gets one refusal that ends the connection; neither it nor a request behind it is served.
    pub async fn assert_refused(&self, request: &[u8], statuses: &[u16]) {
        let what = String::from_utf8_lossy(request).into_owned();
        let behind = b"GET /behind HTTP/1.1\r\nhost: a\r\n\r\n";
        let ending = self.send([request, behind].concat()).await;
        let answer = ending.answer();
        assert!(statuses.contains(&answer.status), "{what:?}: {answer:?}");
        assert!(answer.closes(), "{what:?}: {answer:?}");
        assert_eq!(ending.how, How::Fin, "{what:?}");
        assert_eq!(self.seen(), [""; 0], "{what:?}");
    }

    /// Asserts that `request` is served as `seen`, and the connection is kept.
    pub async fn assert_served(&self, request: &[u8], seen: &str) {
        let what = String::from_utf8_lossy(request).into_owned();
        let mut client = self.server.connect().await;
        assert_eq!(client.ask(request).await.status, 200, "{what:?}");
        assert_eq!(self.seen(), [seen], "{what:?}");
    }
}

/// The outcome of an HTTP/2 request.
#[derive(Debug, PartialEq, Eq)]
pub enum H2Answer {
    Status(u16),
    Reset(u32),
    Closed,
}

/// Sends one request on a connection of its own, with this header list unchanged.
pub async fn h2_ask(server: &Server, headers: &[(&str, &[u8])]) -> H2Answer {
    let mut client = server.connect().await;
    let mut hello = PREFACE.to_vec();
    hello.extend(Frame::new(kind::SETTINGS, 0, 0, []).bytes());
    hello.extend(Frame::new(kind::HEADERS, 4 | 1, 1, block(headers)).bytes());
    client.send(hello).await;
    let stream = client.stream();
    let answer = async {
        let mut bytes = Vec::new();
        loop {
            let read = stream.read_buf(&mut bytes).await;
            for frame in frames(&bytes) {
                match frame.kind {
                    kind::HEADERS => return H2Answer::Status(status(&frame.payload)),
                    kind::RST_STREAM => return H2Answer::Reset(frame.code().unwrap()),
                    kind::SETTINGS if frame.flags & 1 == 0 => {
                        let ack = Frame::new(kind::SETTINGS, 1, 0, []).bytes();
                        let _ = stream.write_all(&ack).await;
                    }
                    _ => {}
                }
            }
            if !read.is_ok_and(|length| length > 0) {
                return H2Answer::Closed;
            }
        }
    };
    within(LIMIT, "an answer", answer).await
}

/// Encodes a header block of literals, without indexing and without Huffman.
fn block(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name.as_bytes(), value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text);
        }
    }
    block
}

/// Decodes the status, which comes first: an index of the static table, or three digits behind the name.
fn status(block: &[u8]) -> u16 {
    let table = [200, 204, 206, 304, 400, 404, 500];
    match block[0] {
        index @ 0x88..=0x8e => table[usize::from(index - 0x88)],
        _ => 0,
    }
}
