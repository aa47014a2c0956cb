//! The same small service in each framework: `POST /echo` reads its body, `GET /client` returns the client's address,
//! `GET /slow` never answers.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;

use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use lameduck::serve::App;
use lameduck::{ClientIp, ConnInfo, Stack};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::ServiceBuilder;
use warp::Filter;

use crate::support::Setup;

/// A server on a port of its own, which ends when this is dropped.
pub struct Place {
    pub addr: SocketAddr,
    _server: Box<dyn Any>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Place {
    /// Starts the service on this crate's server.
    pub async fn serve(app: impl App) -> Place {
        let server = Setup::new().start(app).await;
        Place {
            addr: server.addr,
            _server: Box::new(server),
        }
    }

    /// Starts the service on any other server.
    pub async fn spawn<F: Future<Output = ()> + Send + 'static>(
        server: impl FnOnce(TcpListener) -> F,
    ) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Place {
            addr: listener.local_addr().unwrap(),
            _server: Box::new(Task(tokio::spawn(server(listener)))),
        }
    }
}

fn describe(client: ClientIp) -> String {
    match (client.ip, client.peer) {
        (Some(ip), Some(peer)) => format!("{ip} by {} ({})", peer.ip(), client.source),
        _ => format!("unknown ({})", client.source),
    }
}

fn router(stack: Stack) -> axum::Router {
    axum::Router::new()
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/client", get(async |client: ClientIp| describe(client)))
        .route("/slow", get(std::future::pending::<&'static str>))
        .layer(stack)
}

pub async fn axum(stack: Stack) -> Place {
    Place::serve(router(stack)).await
}

pub async fn axum_by_axum_serve(stack: Stack) -> Place {
    let app = router(stack).into_make_service_with_connect_info::<SocketAddr>();
    Place::spawn(|listener| async move { axum::serve(listener, app).await.unwrap() }).await
}

pub async fn warp(stack: Stack) -> Place {
    let echo = warp::path("echo").and(warp::body::bytes());
    let client = warp::path("client")
        .and(warp::ext::get::<ConnInfo>())
        .map(|info: ConnInfo| describe(info.client.unwrap()));
    let slow = warp::path("slow").and_then(std::future::pending::<Result<String, warp::Rejection>>);
    let filter = warp::post()
        .and(echo.map(|body: Bytes| Response::new(body)))
        .or(warp::get().and(client.or(slow)));
    let service = ServiceBuilder::new()
        .layer(stack)
        .service(warp::service(filter));
    Place::serve(service).await
}

pub async fn service_fn(stack: Stack) -> Place {
    let service = ServiceBuilder::new()
        .layer(stack)
        .service(tower::service_fn(answer));
    Place::serve(service).await
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: http_body::Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    let mut response = Response::default();
    *response.body_mut() = match head.uri.path() {
        "/client" => describe(ClientIp::of(&head.extensions).unwrap()).into(),
        "/slow" => std::future::pending().await,
        _ => match body.collect().await {
            Ok(body) => body.to_bytes().into(),
            Err(_) => {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                Full::default()
            }
        },
    };
    Ok(response)
}
