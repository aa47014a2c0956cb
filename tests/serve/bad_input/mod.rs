//! Bad input gets a clear error or the right status, and leaves nothing behind: after every case the server answers a
//! good request, no connection is left, and the drain has nothing to wait for.

mod heads;
mod http2;
mod leftovers;
mod lengths;
mod settings;
mod unread;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;
use tokio::task::JoinHandle;

use crate::support::*;

/// Bytes that must never be read as a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
/// The most that the server discards of an unread body to reuse the connection.
const DISCARD: usize = 256 * 1024;

/// A server whose handlers record what reaches them.
struct Bed {
    server: Server,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Bed {
    async fn new(setup: Setup) -> Bed {
        let seen = Seen::default();
        let server = setup.start(seen.app()).await;
        Bed { server, seen }
    }

    /// Starts the server in memory, for a paused clock.
    async fn in_memory(timeouts: Timeouts) -> Bed {
        let seen = Seen::default();
        let setup = Setup::new().timeouts(timeouts);
        let server = setup.start_in_memory(seen.app()).await;
        Bed { server, seen }
    }

    async fn with(timeouts: Timeouts) -> Bed {
        Bed::new(Setup::new().timeouts(timeouts)).await
    }

    async fn connect(&self) -> Raw {
        self.server.connect().await
    }

    /// Sends `bytes` on a new connection and returns how it ended, even if not all was accepted.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> Ending {
        let mut client = self.connect().await;
        let _ = client.try_send(bytes).await;
        client.read_until_close().await
    }

    /// The requests that reached the handlers.
    fn seen(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().clone()
    }

    async fn finish(self) {
        let Bed { server, seen } = self;
        server.finish().await;
        let seen = seen.0.lock().unwrap().clone();
        assert!(
            !seen.iter().any(|seen| seen.contains("smuggled")),
            "{seen:?}"
        );
        assert_eq!(seen.last().map(String::as_str), Some("GET /good"));
    }
}

impl Seen {
    fn app(&self) -> App {
        let seen = self.clone();
        app(move |request| seen.clone().answer(request))
    }

    async fn answer(self, request: Request<RequestBody>) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let what = format!("{} {}", head.method, head.uri.path());
        self.0.lock().unwrap().push(what);
        match head.uri.path() {
            "/refuse" => reply(413, "no"),
            "/none" => reply(204, ""),
            "/half" => {
                let mut length = 0;
                while length < 100 {
                    match body.frame().await {
                        Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                        _ => break,
                    }
                }
                reply(413, "enough")
            }
            "/read" => {
                let mut length = 0;
                loop {
                    match body.frame().await {
                        None => return reply(200, format!("n={length}")),
                        Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                        Some(Err(error)) => return reply(200, format!("n={length}: {error}")),
                    }
                }
            }
            "/hold" => {
                tokio::spawn(async move {
                    tokio::time::sleep(ms(150)).await;
                    drop(body);
                });
                reply(200, "held")
            }
            "/elsewhere" => {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    drop(body);
                });
                reply(200, "ok")
            }
            "/sleep" => {
                tokio::time::sleep(ms(3000)).await;
                drop(body);
                reply(200, "slept")
            }
            "/close" => {
                tokio::time::sleep(ms(100)).await;
                let mut response = reply(200, "closes");
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
                response
            }
            "/panic" => {
                let _ = body.frame().await;
                panic!("as the test wants");
            }
            _ => reply(200, "ok"),
        }
    }
}

fn post(path: &str, length: usize, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

fn chunked(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

/// Returns `length` bytes of pipelined requests.
fn requests(length: usize) -> Vec<u8> {
    SMUGGLED.bytes().cycle().take(length).collect()
}

/// Asserts one answer with this status and `Connection: close`, and then the end.
#[track_caller]
fn assert_refused(ending: &Ending, status: u16, what: &str) {
    let text = ending.text();
    assert_eq!(ending.how, How::Fin, "{what}: {text:?}");
    let answer = ending.answer();
    assert_eq!(answer.status, status, "{what}: {text:?}");
    assert!(answer.closes(), "{what}: {text:?}");
}

#[track_caller]
fn assert_time(at: Duration, meant: Duration) {
    let early = meant.saturating_sub(ms(30));
    let late = meant + ms(400);
    assert!(
        early <= at && at <= late,
        "at {at:?}, where {meant:?} is meant"
    );
}

async fn h2_status(answer: ResponseFuture) -> u16 {
    let answer = within(LIMIT, "an answer", answer).await;
    answer.expect("an answer").status().as_u16()
}

/// Asserts that the connection answers one more request, and ends without an error.
async fn h2_still_good(
    mut sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
) {
    let request = Request::get("http://a/next").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    assert_eq!(h2_status(answer).await, 200);
    drop(sender);
    within(LIMIT, "the end", connection).await.unwrap().unwrap();
}
