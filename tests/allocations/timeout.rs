//! Heap allocations of the timeout layer: none, for an answer that is ready at once or waited for.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use lameduck::TimeoutLayer;
use lameduck::timeout::RouteTimeout;
use tower::{Layer, Service, service_fn};

/// Counts the allocations from the call to the end of the body, of an answer that is pending `polls` times.
fn allocations(layer: &TimeoutLayer, polls: usize) -> u64 {
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let mut left = polls;
        std::future::poll_fn(move |_| match left {
            0 => {
                let body = Full::new(Bytes::from_static(b"hello"));
                Poll::Ready(Ok::<_, Infallible>(Response::new(body)))
            }
            _ => {
                left -= 1;
                Poll::Pending
            }
        })
    }));
    // The bytes are shared already, as those of a head read from a socket are.
    let request = Request::post("/a/path")
        .header("content-type", HeaderValue::from_static("application/grpc"))
        .header("grpc-timeout", HeaderValue::from_static("20S"))
        .body(())
        .unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let work = || {
        let mut call = pin!(service.call(request));
        for _ in 0..polls {
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else {
            panic!("it is ready");
        };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
    };
    measure(work).count_total
}

#[tokio::test]
async fn timeout_layer_allocates_nothing() {
    let on = TimeoutLayer::new(Duration::from_secs(10));
    let function = |_: &http::request::Parts| Some(RouteTimeout::after(Duration::from_secs(5)));
    for (name, layer) in [
        ("off", TimeoutLayer::off()),
        ("on", on.clone()),
        ("whole", on.clone().whole_response()),
        ("function", on.clone().per_request(function)),
    ] {
        // The first call may create the runtime's timers.
        allocations(&layer, 2);
        assert_eq!(allocations(&layer, 0), 0, "{name}, at once");
        assert_eq!(allocations(&layer, 2), 0, "{name}, waited for");
    }
}
