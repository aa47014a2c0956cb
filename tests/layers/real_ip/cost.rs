//! The time of a resolution is linear.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lameduck::real_ip::ClientIpHeader;

use super::{headers, trusting};

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
