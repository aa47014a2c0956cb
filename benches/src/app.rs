//! The one service that every measured server runs, so that only the serving around it differs.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, FutureExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Either as EitherBody, Full};

pub type AppBody = EitherBody<Full<Bytes>, BigBody>;
pub type AppResponse = Result<Response<AppBody>, Infallible>;
/// The answer of `GET /` is ready at once; only other routes pay for a box.
pub type AppFuture = Either<Ready<AppResponse>, BoxFuture<'static, AppResponse>>;

const LONGEST_WAIT_MS: u64 = 60_000;
const LARGEST_BODY_MB: u64 = 1024;

/// The routes: `/`, `/slow?ms=N`, `POST /echo`, `/big?mb=N`, `/healthz`, `/readyz`, `/__allocs`.
#[derive(Clone)]
pub struct App {
    ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl App {
    /// `ready` decides what `/readyz` answers.
    pub fn new(ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            ready: Arc::new(ready),
        }
    }

    pub fn call<B>(&self, request: Request<B>) -> AppFuture
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let path = request.uri().path();
        if path == "/" {
            return Either::Left(ready(Ok(hello())));
        }
        let response = match (request.method(), path) {
            (&Method::POST, "/echo") => return Either::Right(echo(request.into_body()).boxed()),
            (&Method::GET, "/slow") => {
                let wait = number(&request, "ms").min(LONGEST_WAIT_MS);
                return Either::Right(slow(Duration::from_millis(wait)).boxed());
            }
            (&Method::GET, "/big") => {
                let megabytes = number(&request, "mb").min(LARGEST_BODY_MB);
                Response::new(EitherBody::Right(BigBody::new(megabytes)))
            }
            (&Method::GET, "/healthz") => text(StatusCode::OK, "alive\n"),
            (&Method::GET, "/readyz") if (self.ready)() => text(StatusCode::OK, "ready\n"),
            (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            (&Method::GET, "/__allocs") => text(StatusCode::OK, allocations().to_string()),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        };
        Either::Left(ready(Ok(response)))
    }
}

fn hello() -> Response<AppBody> {
    text(StatusCode::OK, Bytes::from_static(b"Hello, world!"))
}

async fn slow(wait: Duration) -> AppResponse {
    tokio::time::sleep(wait).await;
    Ok(text(StatusCode::OK, "done\n"))
}

async fn echo<B: Body<Data = Bytes>>(body: B) -> AppResponse {
    Ok(match body.collect().await {
        Ok(body) => text(StatusCode::OK, body.to_bytes()),
        Err(_) => text(StatusCode::BAD_REQUEST, "the body broke off\n"),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<AppBody> {
    let mut response = Response::new(EitherBody::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Returns the number given to `name` in the query; 0 if it is missing or invalid.
fn number<B>(request: &Request<B>, name: &str) -> u64 {
    request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

/// Returns the allocations and reallocations so far; 0 unless the binary made the counting allocator its global one.
pub(crate) fn allocations() -> usize {
    let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
    stats.allocations + stats.reallocations
}

/// A body of some megabytes, made of one static block.
pub struct BigBody {
    left: u64,
}

impl BigBody {
    const BLOCK: &'static [u8] = &[b'x'; 64 * 1024];

    fn new(megabytes: u64) -> Self {
        Self {
            left: megabytes * 1024 * 1024,
        }
    }
}

impl Body for BigBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= Self::BLOCK.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(Self::BLOCK)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
