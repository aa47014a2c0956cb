//! The client's address: against other implementations, against a model, and its cost.
//!
//! `data/real_ip.json` holds inputs and answers collected from the tests of Echo, Gin, chi, realclientip-go,
//! proxy-addr, uvicorn, Rack, HAProxy, nginx and Apache; `data/real_ip_decisions.json` holds our answers where those
//! differ, with the reasons.

#[path = "real_ip/cost.rs"]
mod cost;
#[path = "real_ip/oracle.rs"]
mod oracle;
#[path = "real_ip/properties.rs"]
mod properties;
mod support;
#[path = "real_ip/wire.rs"]
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
