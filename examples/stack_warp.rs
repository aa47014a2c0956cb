//! All layers around a warp filter.
//!
//! ```sh
//! cargo run --example stack_warp --features serve
//! curl localhost:8080/hello                                           # hello, 127.0.0.1
//! curl -d 'a few bytes' localhost:8080/echo                           # a few bytes
//! head -c 2M /dev/zero | curl -i --data-binary @- localhost:8080/echo # 413
//! ```

use bytes::Bytes;
use lameduck::{ConnInfo, Shutdown};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use warp::Filter;

fn hello(info: ConnInfo) -> String {
    match info.client.and_then(|client| client.ip) {
        Some(ip) => format!("hello, {ip}\n"),
        None => "hello, unknown client\n".to_owned(),
    }
}

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let hello = warp::path("hello").and(warp::ext::get()).map(hello);
    let echo = warp::path("echo").and(warp::body::bytes());
    let filter = warp::get()
        .and(hello)
        .or(warp::post().and(echo.map(|body: Bytes| http::Response::new(body))));

    let shutdown = Shutdown::new();
    let service = ServiceBuilder::new()
        .layer(lameduck::stack(shutdown.handle().lifecycle()))
        .service(warp::service(filter));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, service)
        .shutdown(shutdown)
        .await?;
    println!("{report}");
    Ok(report.exit_code())
}
