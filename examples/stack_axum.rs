//! All layers around an axum router.
//!
//! ```sh
//! cargo run --example stack_axum --features serve,axum,rate-limit
//! curl -H 'X-Forwarded-For: 203.0.113.9' localhost:8080          # hello, 203.0.113.9
//! curl -i -d 'more than 16 bytes' localhost:8080/echo            # 413
//! curl -i localhost:8080/slow                                    # 503 after 2 s
//! curl -s -o /dev/null -w '%{http_code}\n' 'localhost:8080?[1-20]' # 429 after a burst of 10
//! ```

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use lameduck::rate_limit::Quota;
use lameduck::{BodyLimitLayer, ClientIp, RateLimitLayer, RealIpLayer, Shutdown, TimeoutLayer};
use tokio::net::TcpListener;

async fn hello(client: ClientIp) -> String {
    match client.ip {
        Some(ip) => format!("hello, {ip}\n"),
        None => "hello, unknown client\n".to_owned(),
    }
}

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let shutdown = Shutdown::new();
    let stack = lameduck::stack(shutdown.handle().lifecycle())
        .real_ip(RealIpLayer::new("loopback".parse()?))
        .rate_limit(RateLimitLayer::new(Quota::per_second(1).burst(10))?)
        .body_limit(BodyLimitLayer::new(16))
        .timeout(TimeoutLayer::new(Duration::from_secs(2)));
    let app = Router::new()
        .route("/", get(hello))
        .route("/echo", post(|body: String| async { body }))
        .route("/slow", get(std::future::pending::<&'static str>))
        .layer(stack)
        .route("/healthz", get(|| async { "ok\n" })); // below the layer: never refused

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, app).shutdown(shutdown).await?;
    println!("{report}");
    Ok(report.exit_code())
}
