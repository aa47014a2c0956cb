//! Heap allocations of the client's address: none.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use lameduck::real_ip::{ClientIpHeader, Resolver};
use lameduck::{ClientIpSource, ConnInfo, RealIpLayer};
use tower::{Layer, service_fn};

use super::cost;

fn peer() -> Option<SocketAddr> {
    Some("10.0.0.1:4000".parse().unwrap())
}

#[test]
fn resolution_allocates_nothing() {
    let cases: [(ClientIpHeader, &'static str, &[u8], ClientIpSource); 9] = [
        (
            ClientIpHeader::XForwardedFor,
            "x-forwarded-for",
            b"1.1.1.1, 10.0.0.2",
            ClientIpSource::Forwarded,
        ),
        (
            ClientIpHeader::XForwardedFor,
            "x-forwarded-for",
            b"[2001:db8::1%eth0]:80",
            ClientIpSource::Forwarded,
        ),
        (
            ClientIpHeader::XForwardedFor,
            "x-forwarded-for",
            b"garbage \xff",
            ClientIpSource::Unreadable,
        ),
        (
            ClientIpHeader::XForwardedFor,
            "x-forwarded-for",
            b"10.0.0.9",
            ClientIpSource::AllTrusted,
        ),
        (
            ClientIpHeader::XForwardedFor,
            "x-real-ip",
            b"1.1.1.1",
            ClientIpSource::NoHeader,
        ),
        (
            ClientIpHeader::Forwarded,
            "forwarded",
            br#"for="\[2001:db8::1]:80";by=_x"#,
            ClientIpSource::Forwarded,
        ),
        (
            ClientIpHeader::Forwarded,
            "forwarded",
            br#"for="1.1.1.1"#,
            ClientIpSource::Unreadable,
        ),
        (
            "x-real-ip".parse().unwrap(),
            "x-real-ip",
            b"1.1.1.1",
            ClientIpSource::Forwarded,
        ),
        (
            "x-real-ip".parse().unwrap(),
            "x-real-ip",
            b"1.1.1.1, 2.2.2.2",
            ClientIpSource::Unreadable,
        ),
    ];
    for (header, name, value, source) in cases {
        let resolver = Resolver::new("private".parse().unwrap()).header(header);
        let value = HeaderValue::from_bytes(value).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        let work = || {
            let resolved = resolver.resolve(peer(), &headers);
            assert_eq!(resolved.source, source);
        };
        assert_eq!(measure(work).count_total, 0, "{name}: {headers:?}");
    }
}

#[test]
fn request_with_connection_info_allocates_nothing() {
    let answer = |request: Request<()>| {
        drop(request);
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    };
    let request = || {
        Request::get("/")
            .header("x-forwarded-for", "1.1.1.1, 10.0.0.2")
            .extension(ConnInfo::new(peer(), None))
            .body(())
            .unwrap()
    };
    let call = |layer: RealIpLayer, request: Request<()>| {
        cost(&mut layer.layer(service_fn(answer)), request).1
    };
    let layer = RealIpLayer::new("private".parse().unwrap());
    assert_eq!(call(layer.clone(), request()), 0, "passed");
    assert_eq!(call(RealIpLayer::off(), request()), 0, "off");
    assert_eq!(
        call(RealIpLayer::hops(9).refuse_unknown(), request()),
        0,
        "refused"
    );

    assert!(
        call(layer, Request::new(())) > 0,
        "the extension is inserted, and the counter counts"
    );
}
