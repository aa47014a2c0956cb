use std::net::SocketAddr;

/// Folds IPv4-mapped IPv6 to IPv4, so that an address has one spelling on every listener.
pub(crate) fn folded(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}
