use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::address::folded;

/// The client of a request, as found by [`real_ip`](crate::real_ip), and the reason why its address is trusted.
///
/// With feature `axum` it is an extractor. Elsewhere [`ClientIp::of`] reads it from the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ClientIp {
    /// The client's address, with IPv4-mapped IPv6 folded to IPv4; `None` if no trusted source provides one.
    pub ip: Option<IpAddr>,
    /// The socket's peer, with IPv4-mapped IPv6 folded to IPv4.
    pub peer: Option<SocketAddr>,
    /// The source of the address.
    pub source: ClientIpSource,
}

impl ClientIp {
    /// Creates the result of a lookup.
    pub fn new(ip: Option<IpAddr>, peer: Option<SocketAddr>, source: ClientIpSource) -> Self {
        ClientIp {
            ip: ip.map(|ip| ip.to_canonical()),
            peer: peer.map(folded),
            source,
        }
    }
}

/// The source of a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientIpSource {
    /// The peer is not a trusted proxy, and sends no forwarding header: it is the client.
    Peer,
    /// The peer is not a trusted proxy, but sends the forwarding header, which is ignored: the peer is taken for the
    /// client. It may be a proxy that is missing from the configuration. Not flagged, because any client can send the
    /// header, and the forward proxies of clients do.
    Ignored,
    /// The peer is a trusted proxy but named no client: the peer itself is taken for the client.
    NoHeader,
    /// The address was forwarded by the trusted proxies, or by the configured number of proxies.
    Forwarded,
    /// Every forwarded address belongs to a trusted proxy: the leftmost is taken. Flagged, because the true client may
    /// be missing.
    AllTrusted,
    /// An unparsable hop ended the walk: the last verified address is taken. Flagged. With a number of proxies instead
    /// of their addresses, there is no address.
    Unreadable,
    /// There are more hops than the walk allows: the last verified address is taken. Flagged.
    TooMany,
    /// There are fewer hops than configured proxies: the request bypassed some of them. No address.
    TooFew,
    /// The socket has no address, and no other source is trusted. No address.
    Unknown,
}

impl ClientIpSource {
    /// Returns the name used in logs and metrics, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ClientIpSource::Peer => "peer",
            ClientIpSource::Ignored => "ignored",
            ClientIpSource::NoHeader => "no_header",
            ClientIpSource::Forwarded => "forwarded",
            ClientIpSource::AllTrusted => "all_trusted",
            ClientIpSource::Unreadable => "unreadable",
            ClientIpSource::TooMany => "too_many",
            ClientIpSource::TooFew => "too_few",
            ClientIpSource::Unknown => "unknown",
        }
    }

    /// Returns `true` if the forwarded addresses are suspicious: the configuration does not match the proxies, or a
    /// client forges headers.
    pub const fn is_flagged(self) -> bool {
        !matches!(
            self,
            ClientIpSource::Peer
                | ClientIpSource::Ignored
                | ClientIpSource::NoHeader
                | ClientIpSource::Forwarded
        )
    }
}

all!(ClientIpSource: [Peer, Ignored, NoHeader, Forwarded, AllTrusted, Unreadable, TooMany, TooFew, Unknown]);

impl fmt::Display for ClientIpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
