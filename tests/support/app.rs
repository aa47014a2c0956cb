use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::channel::Sender;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Full};
use lameduck::serve::RequestBody;
use tower::util::BoxCloneService;

/// A response body of any kind.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A service to test with.
pub type App = BoxCloneService<Request<RequestBody>, Response<Body>, Infallible>;

/// Builds a service from an async function.
pub fn app<F, R>(handler: F) -> App
where
    F: FnMut(Request<RequestBody>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let mut handler = handler;
    BoxCloneService::new(tower::service_fn(move |request| {
        let answer = handler(request);
        async { Ok(answer.await) }
    }))
}

/// Builds a body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Builds an empty body.
pub fn empty() -> Body {
    full("")
}

/// Builds a body that is sent piece by piece.
pub fn channel() -> (Sender<Bytes, io::Error>, Body) {
    let (sender, body) = Channel::new(16);
    (sender, body.boxed_unsync())
}

/// Builds a complete response.
pub fn reply(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
