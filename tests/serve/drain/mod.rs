//! Draining HTTP/1 connections: no accepted request is lost, nothing hangs, and cut requests are reported.

mod arriving;
mod in_flight;
mod layer;
mod pipelined;
mod services;

use crate::support::{App, Ending, How, Raw, app, reply};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn hello() -> App {
    app(|_| async { reply(200, "hello") })
}

/// Asserts that the connection closed without an answer or with a refusal: the client was promised nothing.
fn unanswered(ending: &Ending) {
    assert_ne!(ending.how, How::StillOpen, "{ending:?}");
    for answer in ending.answers() {
        assert_eq!(answer.status, 408, "{ending:?}");
        assert!(answer.closes(), "{ending:?}");
    }
}

/// Halves of a head, and the whole of it.
const HALVES: [&str; 3] = ["P", "POST / HT", "POST / HTTP/1.1\r\nhost: a\r\ncontent-"];
const WHOLE: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";

/// Sends the rest of the head, and asserts an answer that asks to leave.
async fn the_rest_is_answered(client: &mut Raw, half: &str, before: usize) {
    client.send(&WHOLE[half.len()..]).await;
    let answer = client.read_response().await;
    assert_eq!(answer.status, 200, "{half:?} after {before}");
    assert!(answer.closes(), "{half:?} after {before}");
}
