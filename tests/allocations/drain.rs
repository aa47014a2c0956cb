//! Heap allocations of a request: none in the layers, and none for a refusal.

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use lameduck::{DrainLayer, InFlightLayer, Lifecycle, Phase};
use tower::{Layer, Service, service_fn};

use super::cost;

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn answer(request: Request<()>) -> Answer {
    drop(request);
    ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
}

/// Counts the allocations of one call from request to the end of its body; the request's own are made before.
fn allocations<S, B>(service: &mut S) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible>,
{
    // The bytes are shared already, as those of a head read from a socket are.
    let request = Request::get(Uri::from_static("/a/path"))
        .header("host", "here")
        .header("user-agent", "test")
        .header("accept", "application/json")
        .header("accept-encoding", "identity");
    cost(service, request.body(()).unwrap()).1
}

#[test]
fn layers_and_their_refusals_allocate_nothing() {
    let lifecycle = Lifecycle::new();
    let drain = DrainLayer::new(&lifecycle).without_extension();
    let mut service = InFlightLayer::new().layer(drain.layer(service_fn(answer)));
    // The first request allocates the registry's slots.
    allocations(&mut service);
    assert_eq!(allocations(&mut service), 0, "a request that passes");

    lifecycle.advance(Phase::Draining);
    assert_eq!(allocations(&mut service), 0, "a request that is refused");

    let grpc = Request::post(Uri::from_static("/a.B/C"))
        .header("host", "here")
        .header("user-agent", "test")
        .header("te", "trailers")
        .header("content-type", HeaderValue::from_static("application/grpc"));
    let refused = cost(&mut service, grpc.body(()).unwrap());
    assert_eq!(refused.1, 0, "a gRPC call that is refused");

    let mut control = service_fn(|request: Request<()>| {
        drop(vec![0u8; 64]);
        answer(request)
    });
    assert_eq!(allocations(&mut control), 1, "the counter counts");
}
