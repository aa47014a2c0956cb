//! The smallest server: `axum::serve` swapped for `lameduck::serve`.
//!
//! ```sh
//! cargo run --example hello --features serve
//! curl localhost:8080        # then press Ctrl-C here, or send a SIGTERM
//! ```

use axum::{Router, routing::get};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);

    let report = lameduck::serve(listener, app).await?;
    println!("{report}");
    Ok(report.exit_code())
}
