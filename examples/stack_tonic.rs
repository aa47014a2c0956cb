//! All layers on tonic's own server. (On `lameduck::serve`, with its deadlines and its report: `grpc.rs`.)
//!
//! ```sh
//! cargo run --example stack_tonic --features tonic
//! printf '\0\0\0\0\0' | curl -si --http2-prior-knowledge --data-binary @- -o - \
//!   -H 'content-type: application/grpc' -H 'te: trailers' \
//!   localhost:50051/grpc.health.v1.Health/Check | cat -v             # grpc-status: 0
//! ```

use std::time::Duration;

use lameduck::{Health, Lifecycle, Phase, RealIpLayer};
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lifecycle = Lifecycle::new();
    let health = Health::new(&lifecycle);
    let real_ip = RealIpLayer::new("private".parse()?)
        .peer(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr());
    let stack = lameduck::stack(&lifecycle).real_ip(real_ip);
    let in_flight = stack.in_flight_handle();

    let addr = "127.0.0.1:50051".parse()?;
    println!("listening on http://{addr}");
    lifecycle.advance(Phase::Ready);
    let server = Server::builder()
        .layer(stack)
        .add_service(health.grpc().server())
        .serve_with_shutdown(addr, lifecycle.draining());
    let interrupted = async {
        tokio::signal::ctrl_c().await?;
        println!("draining, {} in flight", in_flight.count());
        lifecycle.advance(Phase::Draining); // new calls get UNAVAILABLE
        tokio::time::sleep(Duration::from_secs(10)).await; // tonic would wait for streams for ever
        println!("cut {} calls", in_flight.count());
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        served = server => served?,
        cut = interrupted => cut?,
    }
    Ok(())
}
