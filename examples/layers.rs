//! The layers without the server: `axum::serve`, with a drain that refuses new requests and waits for
//! those that are running.
//!
//! ```sh
//! cargo run --example layers
//! curl 'localhost:8080/slow' &    # then press Ctrl-C here
//! ```

use std::time::Duration;

use axum::{Router, routing::get};
use lameduck::{DrainLayer, InFlightLayer, Lifecycle, Phase};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let lifecycle = Lifecycle::new();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "done\n"
    };
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .layer(DrainLayer::new(&lifecycle).exempt(|head| head.uri.path() == "/healthz"))
        .layer(layer);

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    lifecycle.advance(Phase::Ready);
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        pressed = drain(&lifecycle, &in_flight) => pressed?,
    }
    Ok(())
}

/// Waits for Ctrl-C, then refuses new requests and waits for the running ones, at most 10 s.
async fn drain(
    lifecycle: &Lifecycle,
    in_flight: &lameduck::in_flight::InFlightHandle,
) -> std::io::Result<()> {
    tokio::signal::ctrl_c().await?;
    lifecycle.advance(Phase::Draining);
    println!("draining, {} in flight", in_flight.count());
    let idle = in_flight.wait_idle();
    if tokio::time::timeout(Duration::from_secs(10), idle)
        .await
        .is_err()
    {
        for request in in_flight.requests() {
            println!(
                "cut {} {} after {:?}",
                request.method, request.path, request.age
            );
        }
    }
    Ok(())
}
