//! An accept loop of your own (here: on a Unix socket) with lameduck's timeouts on each connection, its
//! drain and its report.
//!
//! ```sh
//! cargo run --example own_accept_loop --features serve
//! curl --unix-socket /tmp/lameduck.sock http://localhost/
//! ```

use axum::{Router, routing::get};
use lameduck::serve::Connections;
use lameduck::{ConnInfo, Limits, Phase, Shutdown, Timeouts};
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    let path = std::env::temp_dir().join("lameduck.sock");
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    println!("listening on {}", path.display());

    let shutdown = Shutdown::new();
    let handle = shutdown.handle();
    let connections = Connections::new(Timeouts::default(), Limits::default())?.follow(&handle);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        eprintln!("accept failed: {error}");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                },
                _ = handle.lifecycle().reached(Phase::Draining) => return,
            };
            tokio::spawn(connections.serve(stream, ConnInfo::default(), app.clone()));
        }
    });

    let report = shutdown.run().await?;
    println!("{report}");
    Ok(report.exit_code())
}
