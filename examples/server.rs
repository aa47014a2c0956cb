//! A service with everything that belongs to it, in one builder.
//!
//! ```sh
//! cargo run --example server --features full
//! curl localhost:8080
//! curl localhost:8081/metrics     # and http://localhost:8081 to watch a drain; then Ctrl-C here
//! ```

use axum::{Router, routing::get};
use lameduck::{Server, rate_limit::Quota};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), lameduck::server::ServerError> {
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    let report = Server::new("shop")
        .trusted_proxies("10.0.0.0/8")
        .rate_limit(Quota::per_second(100).burst(200))
        .check("disk", || async { std::fs::metadata("/").map(|_| ()) })
        .closer(
            "database",
            Duration::from_secs(2),
            || async { /* pool.close().await */ },
        )
        .worker("mailer", |stop| async move { stop.cancelled().await })
        .admin("127.0.0.1:8081")
        .serve("127.0.0.1:8080", app)
        .await?;
    report.exit()
}
