//! A websocket that says goodbye at the drain, so that a deploy waits for no client.
//!
//! ```sh
//! cargo run --example websocket --features serve,axum
//! websocat ws://localhost:8080/echo    # then press Ctrl-C here: the close code is 1001, going away
//! ```

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::{Router, routing::any};
use lameduck::drain::Draining;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    // `any`: GET on HTTP/1, CONNECT on HTTP/2 (RFC 8441).
    let app = Router::new().route("/echo", any(echo));

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, app).await?;
    println!("{report}");
    Ok(report.exit_code())
}

async fn echo(draining: Draining, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        tokio::select! {
            () = echo_until_the_end(&mut socket) => {}
            () = draining.draining() => {
                // The drain waits for this connection: a client that does not answer must not hold it.
                let goodbye = say_goodbye(&mut socket);
                let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
            }
        }
    })
}

async fn echo_until_the_end(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

/// Sends a close frame and reads until the client has answered it, so that no reset overtakes the frame.
async fn say_goodbye(socket: &mut WebSocket) {
    let close = CloseFrame {
        code: close_code::AWAY,
        reason: "the server is leaving".into(),
    };
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
