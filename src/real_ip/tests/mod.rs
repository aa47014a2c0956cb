use super::{ClientIpHeader, Resolver};
use crate::conn_info::ClientIpSource;
use http::HeaderMap;
use std::net::IpAddr;

mod headers;
mod hops;
mod layer;
mod trusted;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[track_caller]
fn resolves(
    resolver: &Resolver,
    lines: &[(&'static str, &str)],
    expected: Option<&str>,
    why: ClientIpSource,
) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    let found = resolver.resolve(Some("10.0.0.1:4000".parse().unwrap()), &headers);
    assert_eq!(
        (found.ip, found.source),
        (expected.map(ip), why),
        "{lines:?}"
    );
}
