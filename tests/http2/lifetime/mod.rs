//! Drain and deadlines of HTTP/2 connections and streams, with well-behaved and misbehaving clients.

mod drain;
mod rude;
mod streams;

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use crate::support::wire::{END_HEADERS, PREFACE};
use crate::support::{Frame, Frames, Heard, LIMIT, Raw, h2_connect, kind, within};

// === clients ===

/// A client that keeps to the rules.
struct Client {
    sender: SendRequest<Bytes>,
    heard: Heard,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// The outcome of a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    async fn connect(addr: SocketAddr) -> Client {
        let (sender, connection, heard) = h2_connect(addr).await;
        Client {
            sender,
            heard,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request and returns a task that awaits its outcome.
    fn send(&mut self, path: &str) -> JoinHandle<Result<Answer, h2::Error>> {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = self.sender.send_request(request, true).unwrap();
        tokio::spawn(async move {
            let (head, mut body) = answer.await?.into_parts();
            let body = read(&mut body).await?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        })
    }

    async fn get(&mut self, path: &str) -> Result<Answer, h2::Error> {
        let answer = self.send(path);
        within(LIMIT, path, answer).await.unwrap()
    }

    /// Waits until the connection has ended, with or without an error.
    async fn ended(self) {
        drop(self.sender);
        let ended = within(LIMIT, "the connection's end", self.connection).await;
        drop(ended.unwrap());
    }
}

/// Reads everything that a stream sends, as fast as it arrives.
async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(bytes)
}

fn reset(error: &h2::Error) -> Option<Reason> {
    if error.is_reset() {
        error.reason()
    } else {
        None
    }
}

/// Encodes a request's head without any index that would need a table.
fn head(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    Frame::new(kind::HEADERS, END_HEADERS | flags, stream, block).bytes()
}

/// Sends the preface and settings, and never acknowledges anything.
async fn rude(addr: SocketAddr) -> Raw {
    let mut client = Raw::connect(addr).await;
    client.send(PREFACE).await;
    let settings = Frame::new(kind::SETTINGS, 0, 0, []);
    client.send(settings.bytes()).await;
    client
}

/// Reads frames until `until` holds.
async fn heard_until(
    client: &mut Raw,
    partial: &mut Frames,
    what: &str,
    so: impl Fn(&[Frame]) -> bool,
) -> Vec<Frame> {
    let mut heard = Vec::new();
    let all = async {
        while !so(&heard) {
            let mut bytes = Vec::new();
            let length = client.stream().read_buf(&mut bytes).await;
            assert_ne!(length.expect("the connection stands"), 0, "{heard:?}");
            heard.extend(partial.take(&bytes));
        }
    };
    within(LIMIT, what, all).await;
    heard
}

fn has(frames: &[Frame], kind: u8, stream: u32) -> bool {
    frames
        .iter()
        .any(|frame| (frame.kind, frame.stream) == (kind, stream))
}

// === services ===

/// Asserts, after every case, that a connection still serves.
async fn serves(client: &mut Client) {
    let answer = client.get("/good").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}
