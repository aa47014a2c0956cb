//! The measured service, and its requests.

use std::{
    convert::Infallible,
    mem,
    net::{Ipv4Addr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use lameduck::ConnInfo;

const TEXT: &[u8] = b"thirteen byte";

/// Reads the request's body to its end and says hello.
pub async fn hello<A, B>(request: Request<A>) -> Result<Response<B>, Infallible>
where
    A: Body,
    B: From<Bytes>,
{
    let mut body = pin!(request.into_body());
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                let mut response = Response::new(Bytes::new().into());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(response);
            }
            None => break,
        }
    }
    Ok(Response::new(Bytes::from_static(b"hello").into()))
}

/// The body of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A `GET` without a body.
    Get,
    /// 13 bytes of known length.
    Known,
    /// 13 bytes of unknown length.
    Unknown,
}

/// The server whose extensions carry the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The extensions of `lameduck::serve`.
    Lameduck,
    /// The extensions of `axum::serve`.
    Axum,
}

/// Builds a request as a server passes it on: a few headers, and the peer.
pub fn request(asks: Asks, server: Server) -> Request<AskBody> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(HOST, HeaderValue::from_static("localhost:8080"));
    headers.insert(USER_AGENT, HeaderValue::from_static("layers/1.0"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if asks == Asks::Known {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("13"));
    }
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let mut extensions = Extensions::new();
    match server {
        Server::Lameduck => drop(extensions.insert(ConnInfo::new(Some(peer), None))),
        Server::Axum => drop(extensions.insert(ConnectInfo(peer))),
    }
    let mut request = Request::new(AskBody {
        left: match asks {
            Asks::Get => Bytes::new(),
            Asks::Known | Asks::Unknown => Bytes::from_static(TEXT),
        },
        asks,
    });
    *request.method_mut() = match asks {
        Asks::Get => Method::GET,
        Asks::Known | Asks::Unknown => Method::POST,
    };
    *request.uri_mut() = http::Uri::from_static("/some/path");
    *request.headers_mut() = headers;
    *request.extensions_mut() = extensions;
    request
}

/// The body of a measured request.
pub struct AskBody {
    left: Bytes,
    asks: Asks,
}

impl Body for AskBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = mem::take(&mut self.left);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.asks != Asks::Unknown
    }

    fn size_hint(&self) -> SizeHint {
        match self.asks {
            Asks::Unknown => SizeHint::default(),
            Asks::Get | Asks::Known => SizeHint::with_exact(self.left.len() as u64),
        }
    }
}
