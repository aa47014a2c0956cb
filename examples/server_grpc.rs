//! A gRPC service with everything that belongs to it, in one builder: tonic's `Routes` under `Server`.
//!
//! ```sh
//! cargo run --example server_grpc --features full
//! grpcurl -plaintext localhost:50051 grpc.health.v1.Health/Check
//! curl -s localhost:8081/metrics | grep rpc_grpc_status_code     # and http://localhost:8081; then Ctrl-C here
//! ```

use std::time::Duration;

use lameduck::{Server, rate_limit::Quota};
use tonic::service::Routes;

#[tokio::main]
async fn main() -> Result<(), lameduck::server::ServerError> {
    // Your own: `Routes::new(TallyServer::new(Tally))`. One method that takes longer than 10 s to be answered, such as
    // a client's stream: `ServiceBuilder::new().layer(route().timeout(None).when(..)).service(TallyServer::new(Tally))`.
    // A stream says good-bye by `request.extensions().get::<lameduck::drain::Draining>()`.
    let routes = Routes::default();
    let report = Server::new("tally")
        .grpc_health(|health| health.service("shop.Tally"))
        .check("disk", || async { std::fs::metadata("/").map(|_| ()) })
        .rate_limit(Quota::per_second(100).burst(200))
        .rate_limit_layer(|layer| {
            layer.exempt(|head| head.uri.path().starts_with("/grpc.reflection."))
        })
        .closer(
            "database",
            Duration::from_secs(2),
            || async { /* pool.close().await */ },
        )
        .admin("127.0.0.1:8081")
        .serve("127.0.0.1:50051", routes)
        .await?;
    report.exit()
}
