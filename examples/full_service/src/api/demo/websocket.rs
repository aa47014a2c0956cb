//! An echo websocket, which says goodbye when the service is leaving.

use std::time::Duration;

use axum::{
    Extension,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use bytes::Bytes;
use lameduck::{drain::Draining, serve::Deadlines};
use tokio::time::timeout;
use tracing::debug;

/// The time that the client has to answer the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// The largest message. A frame is kept until it is whole, and without a limit of its own it may have 16 MiB.
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// The size of both buffers, which each connection keeps for its lifetime; the defaults are 128 KiB each.
const BUFFER: usize = 4 * 1024;

/// The silence after which a client gets a ping, and the time it has to answer that, or to take a message. A client
/// that has vanished is not detected otherwise, and holds the drain.
#[derive(Clone, Copy)]
pub struct Idle(pub Duration);

pub async fn upgrade(
    Extension(deadlines): Extension<Deadlines>,
    Extension(draining): Extension<Draining>,
    Extension(idle): Extension<Idle>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // If READ_TIMEOUT or WRITE_TIMEOUT is set, a conversation has no length that could be known beforehand.
    deadlines.set_read(None);
    deadlines.set_write(None);
    upgrade
        .max_message_size(LARGEST_MESSAGE)
        .max_frame_size(LARGEST_MESSAGE)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(2 * LARGEST_MESSAGE)
        .on_upgrade(move |socket| converse(socket, draining, idle))
}

async fn converse(mut socket: WebSocket, draining: Draining, idle: Idle) {
    // Dropping `echo` half-way loses nothing: the rest of a message in the socket's buffer is sent before the goodbye.
    let ended = tokio::select! {
        ended = echo(&mut socket, idle) => ended,
        () = draining.draining() => timeout(GOODBYE, say_goodbye(&mut socket))
            .await
            .unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        debug!(%error, "the websocket broke");
    }
}

async fn echo(socket: &mut WebSocket, Idle(idle): Idle) -> Result<(), axum::Error> {
    let gone = || axum::Error::new("the client has gone, or does not read");
    let mut asked = false;
    loop {
        let answer = match timeout(idle, socket.recv()).await {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                asked = false;
                match message? {
                    message @ (Message::Text(_) | Message::Binary(_)) => message,
                    // The protocol's own code answers pings and closes.
                    Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
                }
            }
            Err(_) if asked => return Err(gone()),
            Err(_) => {
                asked = true;
                Message::Ping(Bytes::new())
            }
        };
        timeout(idle, socket.send(answer))
            .await
            .map_err(|_| gone())??;
    }
}

/// Sends 1001 "going away", then reads until the client has answered it: a connection closed earlier may be reset, and
/// the client would not see the reason.
async fn say_goodbye(socket: &mut WebSocket) -> Result<(), axum::Error> {
    socket
        .send(Message::Close(Some(CloseFrame {
            code: close_code::AWAY,
            reason: "draining".into(),
        })))
        .await?;
    while let Some(message) = socket.recv().await {
        message?;
    }
    Ok(())
}
