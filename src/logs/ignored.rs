//! The one warning of a proxy that is not trusted.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderName;
use tracing::warn;

use crate::conn_info::ClientIpSource;

/// The warning, which any client can cause: it is written once.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    written: AtomicBool,
}

impl Ignored {
    /// Writes the warning, at a level that is wanted.
    pub(crate) fn warn(&self, peer: IpAddr, header: &HeaderName) {
        // Relaxed: the flag publishes nothing but itself. Read first, because each such request comes here.
        let written = &self.written;
        if written.load(Ordering::Relaxed) || written.swap(true, Ordering::Relaxed) {
            return;
        }
        let network = &*network_of(peer);
        let source = ClientIpSource::Ignored.as_str();
        warn!(
            target: "lameduck", event = "client_address", source, header = header.as_str(),
            peer = %peer, network,
            "{}", advice(peer, header)
        );
    }
}

/// Returns the warning's text.
pub(super) fn advice(peer: IpAddr, header: &HeaderName) -> String {
    let network = network_of(peer);
    format!(
        "{header} from {peer} is ignored: if that is your proxy, trust it by trusted_proxies({network:?})"
    )
}

/// Returns the network to trust, as [`TrustedProxies`](crate::real_ip::TrustedProxies) parses it: a proxy with a
/// private address gets another one at its next start, one with a public address is alone.
fn network_of(peer: IpAddr) -> Cow<'static, str> {
    let network = match peer {
        IpAddr::V4(ip) => match ip.octets() {
            [10, ..] => "10.0.0.0/8",
            [172, 16..=31, ..] => "172.16.0.0/12",
            [192, 168, ..] => "192.168.0.0/16",
            [127, ..] => "loopback",
            [169, 254, ..] => "link_local",
            _ => return peer.to_string().into(),
        },
        IpAddr::V6(ip) if ip.is_loopback() => "loopback",
        IpAddr::V6(ip) if ip.is_unique_local() => "fc00::/7",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link_local",
        IpAddr::V6(_) => return peer.to_string().into(),
    };
    network.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real_ip::TrustedProxies;

    #[test]
    fn network_holds_the_peer_and_no_public_neighbour() {
        for (peer, network) in [
            ("10.255.0.1", "10.0.0.0/8"),
            ("172.31.0.1", "172.16.0.0/12"),
            ("172.32.0.1", "172.32.0.1"),
            ("192.168.0.9", "192.168.0.0/16"),
            ("127.0.0.1", "loopback"),
            ("169.254.1.1", "link_local"),
            ("203.0.113.9", "203.0.113.9"),
            ("::1", "loopback"),
            ("fd00::7", "fc00::/7"),
            ("fe80::7", "link_local"),
            ("2001:db8::7", "2001:db8::7"),
        ] {
            let ip = peer.parse().unwrap();
            let found = network_of(ip);
            assert_eq!(found, network);
            let trusted: TrustedProxies = found.parse().unwrap();
            assert!(trusted.contains(ip), "{peer}");
        }
    }
}
