//! An echo websocket, which says goodbye when the service is leaving.

use std::time::Duration;

use axum::{
    Extension,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use lameduck::{drain::Draining, serve::Deadlines};
use tokio::time::timeout;
use tracing::debug;

/// How long the client may take to answer the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
const LARGEST_MESSAGE: usize = 1024 * 1024;

pub async fn upgrade(
    Extension(deadlines): Extension<Deadlines>,
    Extension(draining): Extension<Draining>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // Where READ_TIMEOUT or WRITE_TIMEOUT is set: a conversation has no length that could be known
    // beforehand.
    deadlines.set_read(None);
    deadlines.set_write(None);
    upgrade
        .max_message_size(LARGEST_MESSAGE)
        .on_upgrade(|socket| converse(socket, draining))
}

async fn converse(mut socket: WebSocket, draining: Draining) {
    // Giving up `echo` half-way loses nothing: what a message left in the socket's buffer goes out
    // before the goodbye.
    let ended = tokio::select! {
        ended = echo(&mut socket) => ended,
        () = draining.draining() => timeout(GOODBYE, say_goodbye(&mut socket))
            .await
            .unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        debug!(%error, "the websocket broke");
    }
}

async fn echo(socket: &mut WebSocket) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            // Pings and closes are answered by the protocol's own code.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
    Ok(())
}

/// Sends 1001 "going away", then reads until the client has answered it: a connection closed
/// earlier may be reset, and the client would not see why.
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
