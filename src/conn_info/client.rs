use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::address::folded;

/// Who sent a request, and why that is believed; what [`real_ip`](crate::real_ip) found.
///
/// With feature `axum` it is an extractor; everywhere else [`ClientIp::of`] reads it from the request's
/// extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ClientIp {
    /// The client's address, IPv4-mapped IPv6 folded to IPv4; `None` if nothing that can be trusted tells
    /// one.
    pub ip: Option<IpAddr>,
    /// The socket's peer, IPv4-mapped IPv6 folded to IPv4.
    pub peer: Option<SocketAddr>,
    /// Why this address was chosen.
    pub verdict: Verdict,
}

impl ClientIp {
    /// What was found.
    pub fn new(ip: Option<IpAddr>, peer: Option<SocketAddr>, verdict: Verdict) -> Self {
        ClientIp {
            ip: ip.map(|ip| ip.to_canonical()),
            peer: peer.map(folded),
            verdict,
        }
    }
}

/// Why an address was taken for the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The peer is no trusted proxy: it is the client, and headers are ignored.
    Peer,
    /// The peer is a trusted proxy that named nobody: it is taken for the client itself.
    NoHeader,
    /// Told by the trusted proxies, or by as many proxies as there are.
    Forwarded,
    /// Every address told belongs to a trusted proxy: the leftmost is taken. Flagged, for the true client
    /// is perhaps missing.
    AllTrusted,
    /// A hop that cannot be read ended the walk: the last address that was verified is taken. Flagged. With a
    /// number of proxies instead of their addresses: no address.
    Unreadable,
    /// More hops than are walked: the last address that was verified is taken. Flagged.
    TooMany,
    /// Fewer hops than there are proxies: somebody came in past them. No address.
    TooFew,
    /// The socket has no address, and nothing else may be trusted. No address.
    Unknown,
}

impl Verdict {
    /// The name in logs and metrics, `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Peer => "peer",
            Verdict::NoHeader => "no_header",
            Verdict::Forwarded => "forwarded",
            Verdict::AllTrusted => "all_trusted",
            Verdict::Unreadable => "unreadable",
            Verdict::TooMany => "too_many",
            Verdict::TooFew => "too_few",
            Verdict::Unknown => "unknown",
        }
    }

    /// Whether something about the forwarded addresses was odd: a configuration that does not fit the
    /// proxies, or somebody who tries.
    pub const fn is_flagged(self) -> bool {
        !matches!(self, Verdict::Peer | Verdict::NoHeader | Verdict::Forwarded)
    }
}

all!(Verdict: [Peer, NoHeader, Forwarded, AllTrusted, Unreadable, TooMany, TooFew, Unknown]);

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
