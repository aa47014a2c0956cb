//! All layers around a plain function, without a framework.
//!
//! ```sh
//! cargo run --example stack_service_fn --features serve
//! curl localhost:8080                                            # hello, 127.0.0.1
//! head -c 2M /dev/zero | curl -i --data-binary @- localhost:8080 # 413
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use lameduck::{ClientIp, Shutdown};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// Answers a request. It is generic over the body, because the layers pass on a type of their own.
async fn hello<B: Body>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let client = ClientIp::of(request.extensions()).and_then(|client| client.ip);
    let text = match client {
        Some(ip) => format!("hello, {ip}\n"),
        None => "hello, unknown client\n".to_owned(),
    };
    Ok(Response::new(Full::from(text)))
}

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let shutdown = Shutdown::new();
    let service = ServiceBuilder::new()
        .layer(lameduck::stack(shutdown.handle().lifecycle()))
        .service_fn(hello);

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let report = lameduck::serve(listener, service)
        .shutdown(shutdown)
        .await?;
    println!("{report}");
    Ok(report.exit_code())
}
