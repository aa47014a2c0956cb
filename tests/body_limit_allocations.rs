//! Heap allocations of the body limit: none for a known length, and one flag for an unknown one.

use std::alloc::System;
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
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

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

/// Returns the allocations of one call from request to the end of the answer, and its status.
fn call(layer: &BodyLimitLayer, length: usize, known: bool) -> (usize, u16) {
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
    let mut cx = Context::from_waker(Waker::noop());
    let region = Region::new(GLOBAL);
    let mut call = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else {
        panic!("it is ready at once");
    };
    let status = response.status().as_u16();
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
    (region.change().allocations, status)
}

/// There is one test only, because the count is the process's.
#[test]
fn known_length_allocates_nothing_and_unknown_length_one_flag() {
    let layer = BodyLimitLayer::new(32);
    assert_eq!(call(&layer, 32, true), (0, 200), "passed");
    assert_eq!(call(&layer, 33, true), (0, 413), "refused");
    let asked = layer.clone().per_request(|head| {
        let path = head.uri.path();
        (path == "/a/path").then_some(RouteBodyLimit::bytes(32))
    });
    assert_eq!(call(&asked, 32, true), (0, 200), "asked and passed");
    assert_eq!(call(&asked, 33, true), (0, 413), "asked and refused");
    assert_eq!(call(&BodyLimitLayer::off(), 64, false), (0, 200), "off");
    assert_eq!(call(&layer, 32, false), (1, 200), "a flag");
    // The flag is the one allocation: `LengthLimitError` has no size, so its box has none.
    assert_eq!(call(&layer, 33, false), (1, 413), "cut, and answered for");
    let none = BodyLimitLayer::new(u64::MAX);
    assert_eq!(
        call(&none, 64, false),
        (0, 200),
        "there is nothing to watch"
    );
}
