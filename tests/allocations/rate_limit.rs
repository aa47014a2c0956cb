//! The cost of a rate limit: no allocation, and no more time for a refusal than for a pass.
#![cfg(feature = "rate-limit")]

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::{HeaderName, Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use lameduck::rate_limit::{Key, Quota};
use lameduck::{ConnInfo, RateLimitLayer};
use tower::{Layer, Service, service_fn};

use super::cost;

fn answer(request: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    drop(request);
    ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
}

/// Builds a request as it is read from a socket: its bytes are shared already.
fn request() -> Request<()> {
    let mut request = Request::get(Uri::from_static("/a/path"))
        .header("host", "here")
        .header("user-agent", "test")
        .header("accept", "application/json")
        .header("x-tenant", "tenant-7")
        .body(())
        .unwrap();
    let peer = "192.0.2.1:4000".parse().unwrap();
    request
        .extensions_mut()
        .insert(ConnInfo::new(Some(peer), None));
    request
}

/// Returns the status and the allocations of one call, from request to the end of its body.
fn call<S, B>(service: &mut S) -> (u16, usize)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible>,
{
    cost(service, request())
}

#[test]
fn passing_and_refusing_allocate_nothing() {
    let quotas = [Quota::per_day(2), Quota::per_day(100)];
    let layer = || RateLimitLayer::new(quotas).unwrap();
    let tenant = HeaderName::from_static("x-tenant");
    for layer in [
        layer(),
        layer().by_header(tenant),
        layer().by(|head| Some(Key::from(head.uri.path()))),
        layer().exempt(|head| head.uri.path() == "/healthz"),
    ] {
        let mut service = layer.layer(service_fn(answer));
        // A new key allocates room in its shard.
        assert_eq!(call(&mut service).0, 200);
        assert_eq!(call(&mut service), (200, 0), "{layer:?}");
        assert_eq!(call(&mut service), (429, 0), "{layer:?}");
    }
    let mut off = RateLimitLayer::off().layer(service_fn(answer));
    assert_eq!(call(&mut off), (200, 0));

    let mut control = service_fn(|request: Request<()>| {
        drop(vec![0u8; 64]);
        answer(request)
    });
    assert_eq!(call(&mut control).1, 1, "the counter counts");
}
