use std::hash::{Hash, Hasher};
#[cfg(feature = "rate-limit")]
use std::net::IpAddr;
use std::net::SocketAddr;

use http::Extensions;
use tokio::time::Instant;

use super::ClientIp;
use super::address::folded;

/// The two ends of the connection that a request came over, and the client behind the proxies once
/// [`real_ip`](crate::real_ip) has looked for it. `serve` puts it into every request's extensions.
///
/// `peer` and `local` are the socket's addresses, with IPv4-mapped IPv6 folded to IPv4, and no layer changes them:
/// behind a proxy the peer is the proxy.
///
/// One extension for both, which [`real_ip`](crate::real_ip) fills in its place, because each extension
/// of a request is an allocation.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The other end; `None` where the transport has no such address (a Unix socket).
    pub peer: Option<SocketAddr>,
    /// This end; `None` where the transport has no such address.
    pub local: Option<SocketAddr>,
    /// Who sent the request, as far as that can be trusted; `None` until
    /// [`RealIpLayer`](crate::RealIpLayer) has looked.
    pub client: Option<ClientIp>,
    /// When the request's head was there, by the one look at the clock that `serve` takes for it: a look costs
    /// more than an allocation, and several layers want the time.
    pub(crate) arrived: Option<Instant>,
}

impl ConnInfo {
    /// The two ends of a connection; IPv4-mapped IPv6 addresses, as a dual-stack listener has them, are folded to
    /// IPv4.
    pub fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        ConnInfo {
            peer: peer.map(folded),
            local: local.map(folded),
            client: None,
            arrived: None,
        }
    }

    fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>, Option<ClientIp>) {
        (self.peer, self.local, self.client)
    }
}

impl ClientIp {
    /// What [`RealIpLayer`](crate::RealIpLayer) found for the request with these extensions; `None` if the
    /// request did not come through one.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<ConnInfo>()?.client
    }
}

/// By who is at the ends; the moment is no part of it.
impl PartialEq for ConnInfo {
    fn eq(&self, other: &Self) -> bool {
        self.ends() == other.ends()
    }
}

impl Eq for ConnInfo {}

impl Hash for ConnInfo {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ends().hash(state);
    }
}

/// The socket's peer, from `serve`, or with feature `axum` from axum's `ConnectInfo`.
pub(crate) fn peer_of(extensions: &Extensions) -> Option<SocketAddr> {
    if let Some(info) = extensions.get::<ConnInfo>() {
        return info.peer.map(folded);
    }
    #[cfg(feature = "axum")]
    if let Some(info) = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>() {
        return Some(folded(info.0));
    }
    None
}

/// When the request came: as `serve` has seen it, else now.
///
/// Not for what counts the time that a service takes: a layer further out may have had it wait.
pub(crate) fn arrival_of(extensions: &Extensions) -> Instant {
    let info = extensions.get::<ConnInfo>();
    let arrived = info.and_then(|info| info.arrived);
    arrived.unwrap_or_else(Instant::now)
}

/// The client's address: what [`real_ip`](crate::real_ip) found; without that layer the peer's.
#[cfg(feature = "rate-limit")]
pub(crate) fn client_of(extensions: &Extensions) -> Option<IpAddr> {
    match ClientIp::of(extensions) {
        Some(client) => client.ip,
        None => peer_of(extensions).map(|peer| peer.ip().to_canonical()),
    }
}
