//! The client's address: against other implementations, against a model, and its cost.
//!
//! `tests/data/real_ip.json` holds inputs and answers collected from the tests of Echo, Gin, chi, realclientip-go,
//! proxy-addr, uvicorn, Rack, HAProxy, nginx and Apache; `tests/data/real_ip_decisions.json` holds our answers where
//! those differ, with the reasons.

mod cost;
mod oracle;
mod properties;
mod wire;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use lameduck::real_ip::{ClientIpHeader, Resolver};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peer(text: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip(text), 4000))
}

fn headers<'a>(lines: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    headers
}

fn trusting(list: &str, header: ClientIpHeader) -> Resolver {
    Resolver::new(list.parse().unwrap()).header(header)
}
