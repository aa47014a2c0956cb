use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio_stream::StreamExt;

use super::plan::{Answer, Fails, Frames, Part, Piece, data};
use crate::ClientIp;
use crate::body_limit::BodyLimitBody;
use crate::drain::Draining;
use crate::id::RequestId;

/// Answers as the request's extension asks.
#[derive(Clone)]
pub struct Service;

type Body = UnsyncBoxBody<Bytes, &'static str>;

impl tower::Service<Request<BodyLimitBody<Frames>>> for Service {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<BodyLimitBody<Frames>>) -> Self::Future {
        let answer = request.extensions().get::<Answer>().unwrap().clone();
        assert_ne!(answer.fails, Fails::PanicInCall);
        Box::pin(async move {
            if !answer.wait.is_zero() {
                tokio::time::sleep(answer.wait).await;
            }
            let mut response = Response::builder().status(answer.status);
            let seen = request.extensions();
            let client = ClientIp::of(seen).and_then(|client| client.ip);
            let id = RequestId::of(seen).map(|id| id.as_str().len());
            let drain = seen.get::<Draining>().is_some();
            response = response.header("x-extensions", format!("{client:?} {id:?} {drain}"));
            if answer.reads {
                let read = request.into_body().collect().await;
                let length = read.map(|body| body.to_bytes().len());
                response = response.header("x-read", format!("{length:?}"));
            }
            assert_ne!(answer.fails, Fails::PanicInPoll);
            if answer.fails == Fails::Error {
                return Err("the service fails");
            }
            for (name, value) in &answer.headers {
                response = response.header(*name, *value);
            }
            Ok(response.body(body(answer.frames)).unwrap())
        })
    }
}

/// A single piece knows its length, several do not.
fn body(parts: Vec<Part>) -> Body {
    match parts[..] {
        [] => Full::default()
            .map_err(|never| match never {})
            .boxed_unsync(),
        [Part::Data(text)] => Full::from(text)
            .map_err(|never| match never {})
            .boxed_unsync(),
        _ => StreamBody::new(tokio_stream::iter(parts).map(frame)).boxed_unsync(),
    }
}

fn frame(part: Part) -> Piece {
    match part {
        Part::Data(text) => data(text),
        Part::Trailers => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "5".parse().unwrap());
            Ok(Frame::trailers(trailers))
        }
        Part::Error => Err("the body fails"),
        Part::Panic => panic!("the body panics"),
    }
}
