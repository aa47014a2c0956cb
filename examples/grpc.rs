//! A gRPC service through `lameduck::serve`: tonic's `Routes` is a tower service like any other.
//!
//! ```sh
//! cargo run --example grpc --features serve,tonic
//! grpcurl -plaintext localhost:50051 grpc.health.v1.Health/Check
//! ```

use lameduck::{DrainLayer, Health, InFlightLayer, Shutdown};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let shutdown = Shutdown::new();
    // The status is SERVING while the process is ready; watching clients see when it begins to leave.
    let health = Health::new(shutdown.handle().lifecycle());
    // A call during the drain gets UNAVAILABLE, and the client goes elsewhere.
    let service = ServiceBuilder::new()
        .layer(InFlightLayer::new())
        .layer(DrainLayer::new(shutdown.handle().lifecycle()))
        .service(Routes::new(health.grpc().server()));

    let listener = TcpListener::bind("127.0.0.1:50051").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, service)
        .shutdown(shutdown)
        .await?;
    println!("{report}");
    Ok(report.exit_code())
}
