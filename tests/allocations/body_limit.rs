//! Heap allocations of the body limit: none for a known length, and one flag for an unknown one.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use lameduck::BodyLimitLayer;
use lameduck::body_limit::{BodyLimitBody, RouteBodyLimit};
use tower::{Layer, service_fn};

use super::cost;

/// A body of one frame, of known or unknown length.
struct Upload {
    data: Bytes,
    known: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = std::mem::take(&mut self.data);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.known {
            true => SizeHint::with_exact(self.data.len() as u64),
            false => SizeHint::default(),
        }
    }
}

/// Reads the body, and ignores how that ends.
fn read(
    request: Request<BodyLimitBody<Upload>>,
) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut body = pin!(request.into_body());
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
    *response.headers_mut() = MAP.take().expect("made before it is counted");
    ready(Ok(response))
}

std::thread_local! {
    /// Returns the cost of the handler's own header map.
    static MAP: std::cell::Cell<Option<http::HeaderMap>> = const { std::cell::Cell::new(None) };
}

/// Returns the status of one call, and its allocations from request to the end of the answer.
fn call(layer: &BodyLimitLayer, length: usize, known: bool) -> (u16, usize) {
    let mut service = layer.layer(service_fn(read));
    let data = Bytes::from_static(&[b'x'; 64]).slice(..length);
    let request = Request::post(Uri::from_static("/a/path"))
        .header("host", "here")
        .header("user-agent", "test")
        .header("accept", "application/json")
        .header("content-type", "text/plain")
        .body(Upload { data, known })
        .unwrap();
    MAP.set(Some(http::HeaderMap::with_capacity(8)));
    cost(&mut service, request)
}

#[test]
fn known_length_allocates_nothing_and_unknown_length_one_flag() {
    let layer = BodyLimitLayer::new(32);
    assert_eq!(call(&layer, 32, true), (200, 0), "passed");
    assert_eq!(call(&layer, 33, true), (413, 0), "refused");
    let asked = layer.clone().per_request(|head| {
        let path = head.uri.path();
        (path == "/a/path").then_some(RouteBodyLimit::bytes(32))
    });
    assert_eq!(call(&asked, 32, true), (200, 0), "asked and passed");
    assert_eq!(call(&asked, 33, true), (413, 0), "asked and refused");
    assert_eq!(call(&BodyLimitLayer::off(), 64, false), (200, 0), "off");
    assert_eq!(call(&layer, 32, false), (200, 1), "a flag");
    // The flag is the one allocation: `LengthLimitError` has no size, so its box has none.
    assert_eq!(call(&layer, 33, false), (413, 1), "cut, and answered for");
    let none = BodyLimitLayer::new(u64::MAX);
    assert_eq!(
        call(&none, 64, false),
        (200, 0),
        "there is nothing to watch"
    );
}
