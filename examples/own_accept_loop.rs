//! An accept loop of your own (here: a Unix socket with nothing around it) with lameduck's timeouts on
//! each connection.
//!
//! ```sh
//! cargo run --example own_accept_loop --features serve
//! curl --unix-socket /tmp/lameduck.sock http://localhost/
//! ```

use axum::{Router, routing::get};
use lameduck::{Timeouts, serve_connection_with_timeouts};
use std::time::Duration;
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    let timeouts = Timeouts::default().idle(Duration::from_secs(30));

    let path = std::env::temp_dir().join("lameduck.sock");
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    println!("listening on {}", path.display());
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = serve_connection_with_timeouts(stream, app.clone(), timeouts)?;
        tokio::spawn(async move { println!("a connection ended: {:?}", connection.await) });
    }
}
