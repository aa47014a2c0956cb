//! A service with everything that belongs to it, in one builder.
//!
//! ```sh
//! cargo run --example server --features full
//! curl localhost:8081/metrics          # for Prometheus
//! curl -i localhost:8081/readyz        # for the load balancer
//! curl localhost:8080/slow &           # then Ctrl-C here, and watch http://localhost:8081 meanwhile
//! ```

use axum::{Router, routing::get};
use lameduck::{Server, rate_limit::Quota};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), lameduck::server::ServerError> {
    tracing_subscriber::fmt().init(); // first: the log goes there
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow));
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

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(8)).await;
    "at last\n"
}
