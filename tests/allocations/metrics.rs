//! Heap allocations of the metrics layer: none for a known series.
#![cfg(feature = "metrics")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use lameduck::Metrics;
use lameduck::metrics::MetricsLayer;
use tower::{Layer, Service, service_fn};

fn answer(request: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    drop(request);
    ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
}

/// Counts the allocations from the call to the end of the body, or to where it is dropped.
fn allocations(layer: &MetricsLayer, path: &'static str, to_the_end: bool) -> u64 {
    let mut service = layer.layer(service_fn(answer));
    // The bytes are shared already, as those of a head read from a socket are.
    let request = Request::post(Uri::from_static(path))
        .header("host", "here")
        .header("content-length", "5")
        .body(())
        .unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let work = || {
        let mut call = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else {
            panic!("it is ready at once");
        };
        let mut body = pin!(response.into_body());
        let mut read = to_the_end;
        while read {
            read = matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(Ok(_))));
        }
    };
    measure(work).count_total
}

/// Returns the memory of the metrics after requests with so many routes.
fn memory(routes: usize) -> i64 {
    let mut made = None;
    let work = || {
        let metrics = Metrics::builder()
            .route(|head| Some(head.uri.path()))
            .build();
        let mut service = metrics.layer().layer(service_fn(answer));
        let mut cx = Context::from_waker(Waker::noop());
        for route in 0..routes {
            let uri = format!("/some/route/with/a/name/{route}");
            let call = service.call(Request::get(uri).body(()).unwrap());
            drop(pin!(call).poll(&mut cx));
        }
        made = Some((metrics, service));
    };
    let held = measure(work).bytes_current;
    drop(made);
    held
}

#[test]
fn known_series_allocates_nothing() {
    let unmatched = Metrics::new();
    let by_function = Metrics::builder()
        .route(|head| Some(head.uri.path()))
        .max_series(3)
        .build();
    for (name, layer, known) in [
        ("off", MetricsLayer::off(), 0),
        ("unmatched", unmatched.layer(), 3),
        ("by function", by_function.layer(), 3),
    ] {
        let first = allocations(&layer, "/a", true);
        assert!(first >= known, "{name}: a new series is counted, {first}");
        allocations(&layer, "/a", false);
        for to_the_end in [true, false] {
            assert_eq!(allocations(&layer, "/a", to_the_end), 0, "{name}");
        }
    }
    // The route is beyond the cap, and known there.
    let layer = by_function.layer();
    for path in ["/b", "/c", "/d", "/e"] {
        allocations(&layer, path, true);
    }
    assert_eq!(allocations(&layer, "/d", true), 0, "folded");
    assert_eq!(allocations(&layer, "/f", true), 0, "folded, and new");
    assert!(memory(0) < 200_000, "{} bytes to begin with", memory(0));
    let full = memory(10_000);
    assert!(full < 1_400_000, "{full} bytes with 2,000 series");
}
