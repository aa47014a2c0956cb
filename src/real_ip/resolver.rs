use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use super::{ClientIpHeader, TrustedProxies, address, entries, forwarded};
use crate::conn_info::{ClientIp, ClientIpSource};

/// The maximum number of hops that are walked; no real client is behind that many proxies.
pub(super) const MAX_HOPS: usize = 32;

/// The rules without a service around them: a pure function of the peer and the headers.
///
/// Resolution does not allocate and is linear in the size of the headers.
///
/// ```
/// use http::HeaderMap;
/// use lameduck::{ClientIpSource, real_ip::Resolver};
///
/// let resolver = Resolver::new("private".parse().unwrap());
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2".parse().unwrap());
///
/// let client = resolver.resolve(Some("10.0.0.1:4000".parse().unwrap()), &headers);
/// assert_eq!(client.ip, Some("203.0.113.9".parse().unwrap()));
/// assert_eq!(client.source, ClientIpSource::Forwarded);
/// ```
#[derive(Clone, Debug)]
pub struct Resolver {
    trust: Trust,
    header: ClientIpHeader,
}

#[derive(Clone, Debug)]
enum Trust {
    Proxies(TrustedProxies),
    Hops(usize),
}

impl Resolver {
    /// Creates a resolver that trusts these proxies, in `X-Forwarded-For`.
    pub fn new(trusted: TrustedProxies) -> Self {
        Resolver {
            trust: Trust::Proxies(trusted),
            header: ClientIpHeader::default(),
        }
    }

    /// Creates a resolver that trusts any peer, because there are always `proxies` proxies in front, each of which
    /// appends one entry: the client is that entry from the right. With 0 it is the peer.
    ///
    /// Use it only if no client can connect past the proxies: such a client would choose its own address.
    pub fn hops(proxies: usize) -> Self {
        Resolver {
            trust: Trust::Hops(proxies),
            header: ClientIpHeader::default(),
        }
    }

    /// Sets the header that the proxies write. Default: `X-Forwarded-For`.
    #[must_use]
    pub fn header(mut self, header: ClientIpHeader) -> Self {
        self.header = header;
        self
    }

    /// Returns the client of a request with these headers from this peer.
    pub fn resolve(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> ClientIp {
        let peer_ip = peer.map(|peer| peer.ip().to_canonical());
        let (ip, source) = match (&self.trust, peer_ip) {
            (Trust::Hops(0), Some(ip)) => (Some(ip), self.untrusted(headers)),
            (Trust::Proxies(trusted), None) if trusted.contains_unix() => {
                self.walk(trusted, None, headers)
            }
            (Trust::Hops(0), None) | (Trust::Proxies(_), None) => (None, ClientIpSource::Unknown),
            (Trust::Hops(n), _) => self.count(*n, headers),
            (Trust::Proxies(trusted), Some(ip)) if !trusted.contains(ip) => {
                (Some(ip), self.untrusted(headers))
            }
            (Trust::Proxies(trusted), Some(_)) => self.walk(trusted, peer_ip, headers),
        };
        ClientIp::new(ip, peer, source)
    }

    /// Returns the source of the address of a peer that is not trusted. This is the one look-up in its headers.
    fn untrusted(&self, headers: &HeaderMap) -> ClientIpSource {
        match headers.contains_key(self.header.name()) {
            true => ClientIpSource::Ignored,
            false => ClientIpSource::Peer,
        }
    }

    /// Returns the one header that is read.
    pub(super) fn header_name(&self) -> &HeaderName {
        self.header.name()
    }

    /// Walks from the trusted peer, proxy by proxy, to the first address that is not trusted.
    fn walk(
        &self,
        trusted: &TrustedProxies,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> (Option<IpAddr>, ClientIpSource) {
        // A Unix socket's peer has no address to fall back on.
        let silent = match peer {
            Some(_) => ClientIpSource::NoHeader,
            None => ClientIpSource::Unknown,
        };
        let lines = headers.get_all(self.header.name());
        let read = match self.header {
            ClientIpHeader::XForwardedFor => address::read,
            ClientIpHeader::Forwarded => forwarded::read,
            ClientIpHeader::Named(_) | ClientIpHeader::NamedWithPort(_) => {
                return match self.single(lines.iter()) {
                    Single::None => (peer, silent),
                    Single::Unreadable => (peer, ClientIpSource::Unreadable),
                    Single::Ip(ip) if trusted.contains(ip) => {
                        (Some(ip), ClientIpSource::AllTrusted)
                    }
                    Single::Ip(ip) => (Some(ip), ClientIpSource::Forwarded),
                };
            }
        };
        let mut last = peer;
        let mut hops = 0;
        // RFC 9110, 5.6.1.2: empty entries do not count.
        for entry in entries::rev(&lines, self.quotes()).filter(|entry| !entry.is_empty()) {
            if hops == MAX_HOPS {
                return (last, ClientIpSource::TooMany);
            }
            let Some(ip) = read(entry) else {
                return (last, ClientIpSource::Unreadable);
            };
            if !trusted.contains(ip) {
                return (Some(ip), ClientIpSource::Forwarded);
            }
            last = Some(ip);
            hops += 1;
        }
        match hops {
            0 => (last, silent),
            _ => (last, ClientIpSource::AllTrusted),
        }
    }

    /// Returns the entry at this position from the right.
    fn count(&self, proxies: usize, headers: &HeaderMap) -> (Option<IpAddr>, ClientIpSource) {
        let lines = headers.get_all(self.header.name());
        let read = match self.header {
            ClientIpHeader::XForwardedFor => address::read,
            ClientIpHeader::Forwarded => forwarded::read,
            ClientIpHeader::Named(_) | ClientIpHeader::NamedWithPort(_) => {
                return match self.single(lines.iter()) {
                    Single::None => (None, ClientIpSource::TooFew),
                    Single::Unreadable => (None, ClientIpSource::Unreadable),
                    Single::Ip(ip) => (Some(ip), ClientIpSource::Forwarded),
                };
            }
        };
        // Empty entries count here: if a proxy writes one for a peer without an address, skipping it would take the
        // entry that the client wrote instead.
        match entries::rev(&lines, self.quotes()).nth(proxies - 1) {
            None => (None, ClientIpSource::TooFew),
            Some(entry) => match read(entry) {
                None => (None, ClientIpSource::Unreadable),
                Some(ip) => (Some(ip), ClientIpSource::Forwarded),
            },
        }
    }

    /// Returns the address of a header that has exactly one line with exactly one address.
    fn single<'a>(&self, mut lines: impl Iterator<Item = &'a http::HeaderValue>) -> Single {
        let read = match self.header {
            ClientIpHeader::NamedWithPort(_) => address::read_with_port,
            _ => address::read,
        };
        match (lines.next(), lines.next()) {
            (None, _) => Single::None,
            (Some(line), None) => match read(entries::trim(line.as_bytes())) {
                Some(ip) => Single::Ip(ip),
                None => Single::Unreadable,
            },
            (Some(_), Some(_)) => Single::Unreadable,
        }
    }

    fn quotes(&self) -> bool {
        self.header == ClientIpHeader::Forwarded
    }
}

enum Single {
    None,
    Unreadable,
    Ip(IpAddr),
}
