//! Heap allocations of the request id: one if it is kept, two if it is made.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use http::{HeaderMap, HeaderValue, Request, Response};
use lameduck::{ConnInfo, RequestIdLayer};
use tower::{Layer, Service, service_fn};

/// Counts the allocations of a request with this id, beyond those of the answer's own header map.
fn allocations(layer: &RequestIdLayer, id: Option<&'static str>) -> u64 {
    let mut answer = Some(Response::new(()));
    *answer.as_mut().unwrap().headers_mut() = HeaderMap::with_capacity(4);
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(answer.take().unwrap()))
    }));
    // The request is as `serve` makes it: with an extension, and with shared bytes.
    let mut request = Request::new(());
    request.extensions_mut().insert(ConnInfo::default());
    if let Some(id) = id {
        let headers = request.headers_mut();
        headers.insert("x-request-id", HeaderValue::from_static(id));
    }
    let mut cx = Context::from_waker(Waker::noop());
    let work = || {
        let Poll::Ready(Ok(_)) = pin!(service.call(request)).poll(&mut cx) else {
            panic!("it is ready");
        };
    };
    measure(work).count_total
}

#[test]
fn request_id_allocates_its_extension_and_bytes() {
    let on = RequestIdLayer::new();
    allocations(&on, None); // the thread's keys
    // The second extension may make the map of extensions grow.
    let extension = {
        let mut extensions = http::Extensions::new();
        extensions.insert(ConnInfo::default());
        let work = || assert!(extensions.insert(0_u64).is_none());
        measure(work).count_total
    };
    assert_eq!(extension, 1);
    assert_eq!(allocations(&RequestIdLayer::off(), Some("kept")), 0);
    assert_eq!(allocations(&on, Some("kept")), extension);
    assert_eq!(allocations(&on, None), extension + 1);
    assert_eq!(allocations(&on, Some("not kept")), extension + 1);
}
