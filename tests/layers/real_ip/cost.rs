//! Resolution allocates nothing, and its time is linear.

use std::alloc::System;
use std::convert::Infallible;
use std::future::ready;
use std::net::Ipv4Addr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::real_ip::ClientIpHeader;
use lameduck::{ClientIpSource, ConnInfo, RealIpLayer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

use super::{headers, peer, trusting};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts the allocations of `work`. The count is the process's, and the tests of a process run at once (under `cargo
/// test`): the minimum of many runs is exact.
fn allocations<T>(mut prepare: impl FnMut() -> T, mut work: impl FnMut(T)) -> usize {
    let count = |_| {
        let given = prepare();
        let region = Region::new(GLOBAL);
        work(given);
        region.change().allocations
    };
    (0..1000).map(count).min().unwrap()
}

#[test]
fn resolution_allocates_nothing() {
    let cases: [(ClientIpHeader, &str, &[u8], ClientIpSource); 9] = [
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
    for (header, name, value, verdict) in cases {
        let resolver = trusting("private", header);
        let headers = headers([(name, value)]);
        let found = allocations(
            || (),
            |()| {
                assert_eq!(
                    resolver.resolve(peer("10.0.0.1"), &headers).verdict,
                    verdict
                )
            },
        );
        assert_eq!(found, 0, "{name}: {value:?}");
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
            .extension(ConnInfo::new(peer("10.0.0.1"), None))
            .body(())
            .unwrap()
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = |layer: RealIpLayer, request: &dyn Fn() -> Request<()>| {
        let mut service = layer.layer(service_fn(answer));
        allocations(request, |request| {
            let mut future = std::pin::pin!(service.call(request));
            let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
                panic!("it is ready at once");
            };
            drop(response);
        })
    };
    let layer = RealIpLayer::new("private".parse().unwrap());
    assert_eq!(call(layer.clone(), &request), 0, "passed");
    assert_eq!(call(RealIpLayer::off(), &request), 0, "off");
    assert_eq!(
        call(RealIpLayer::hops(9).refuse_unknown(), &request),
        0,
        "refused"
    );

    let bare = || Request::new(());
    assert!(
        call(layer, &bare) > 0,
        "the extension is inserted, and the counter counts"
    );
}

#[test]
fn resolution_time_is_linear() {
    // Quadratic work would take minutes at these sizes.
    let big = 512 << 10;
    let hostile: [&[u8]; 8] = [
        b",",
        b" ",
        b"\"",
        b"\\",
        b"\\\"",
        b"for=\"",
        b";",
        b"for=1.1.1.1,",
    ];
    for header in [ClientIpHeader::XForwardedFor, ClientIpHeader::Forwarded] {
        for piece in hostile {
            let line = piece.repeat(big / piece.len());
            let headers = headers((0..2).map(|_| (header.name().as_str(), line.as_slice())));
            let started = Instant::now();
            for resolver in [
                trusting("0.0.0.0/0", header.clone()),
                lameduck::real_ip::Resolver::hops(1 << 30).header(header.clone()),
            ] {
                resolver.resolve(Some((Ipv4Addr::LOCALHOST, 1).into()), &headers);
            }
            let took = started.elapsed();
            assert!(took < Duration::from_secs(20), "{piece:?} took {took:?}");
        }
    }
}
