//! A second port that shows the state of the service, to the very end: metrics, health, and the page to watch a drain.
//!
//! ```sh
//! cargo run --example admin_port --features serve,axum,metrics,status
//! curl localhost:8081/metrics          # for Prometheus
//! curl -i localhost:8081/readyz        # for the load balancer
//! curl localhost:8080/slow &           # then Ctrl-C here, and watch http://localhost:8081 meanwhile
//! ```

use std::time::Duration;

use axum::{Router, routing::get};
use lameduck::{Health, Metrics, Shutdown, StatusPage};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let shutdown = Shutdown::new();
    let handle = shutdown.handle();

    // The listeners of the events.
    let metrics = Metrics::new();
    let page = StatusPage::new(&handle).title("admin_port");
    let events = metrics.event_sink().and(page.event_sink());
    let health = Health::new(handle.lifecycle()).events(events.clone());

    // The sources that they read.
    let stack = lameduck::stack(handle.lifecycle()).events(events.clone());
    let page = page.in_flight(stack.in_flight_handle());
    metrics
        .shutdown(&handle)
        .in_flight(stack.in_flight_handle());

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .layer(stack)
        .layer(metrics.layer());
    let admin = Router::new()
        .route_service("/metrics", metrics.service())
        .fallback_service(page)
        .layer(health.layer());

    let admin_listener = TcpListener::bind("127.0.0.1:8081").await?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://localhost:8080/slow, and http://localhost:8081 to watch it");
    let admin = lameduck::serve(admin_listener, admin).observe(&handle);
    tokio::spawn(admin.into_future());
    let report = lameduck::serve(listener, app)
        .events(events)
        .shutdown(shutdown)
        .await?;
    println!("{report}");
    Ok(report.exit_code())
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(8)).await;
    "at last\n"
}
