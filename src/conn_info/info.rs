use std::hash::{Hash, Hasher};
#[cfg(feature = "rate-limit")]
use std::net::IpAddr;
use std::net::SocketAddr;

use http::Extensions;
use tokio::time::Instant;

use super::ClientIp;
use super::address::folded;

/// The two ends of the connection that carries a request, and the client behind the proxies once
/// [`real_ip`](crate::real_ip) has found it. `serve` puts it into every request's extensions.
///
/// `peer` and `local` are the socket's addresses, with IPv4-mapped IPv6 folded to IPv4. No layer changes them: behind a
/// proxy the peer is the proxy.
///
/// Both facts share one extension, which [`real_ip`](crate::real_ip) completes in place, because each extension of a
/// request is an allocation.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The remote end; `None` where the transport has no such address (a Unix socket).
    pub peer: Option<SocketAddr>,
    /// The local end; `None` where the transport has no such address.
    pub local: Option<SocketAddr>,
    /// The client that sent the request, as far as it can be trusted; `None` until [`RealIpLayer`](crate::RealIpLayer)
    /// has run.
    pub client: Option<ClientIp>,
    /// The time at which the request's head was complete, from the one clock reading that `serve` takes per request: a
    /// reading costs more than an allocation, and several layers need the time.
    pub(crate) arrived: Option<Instant>,
}

impl ConnInfo {
    /// Creates the two ends of a connection, and folds the IPv4-mapped IPv6 addresses of a dual-stack listener to IPv4.
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
    /// Returns the result that [`RealIpLayer`](crate::RealIpLayer) stored in these extensions; `None` if the request
    /// did not pass through that layer.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<ConnInfo>()?.client
    }
}

/// Compares the ends of the connection; the time of arrival is not part of the identity.
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

/// Returns the socket's peer, from `serve`, or with feature `axum` from axum's `ConnectInfo`.
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

/// Returns the time at which the request arrived: as recorded by `serve`, otherwise now.
///
/// It does not suit measuring a service's own time: a layer further out may have delayed the request.
#[allow(clippy::disallowed_methods)] // on a server that has not looked
#[cfg(any(feature = "metrics", feature = "rate-limit", feature = "tracing"))]
pub(crate) fn arrival_of(extensions: &Extensions) -> Instant {
    let info = extensions.get::<ConnInfo>();
    let arrived = info.and_then(|info| info.arrived);
    arrived.unwrap_or_else(Instant::now)
}

/// Returns [`peer_of`] and [`arrival_of`] by one look.
#[allow(clippy::disallowed_methods)] // on a server that has not looked
pub(crate) fn peer_and_arrival_of(extensions: &Extensions) -> (Option<SocketAddr>, Instant) {
    match extensions.get::<ConnInfo>() {
        Some(info) => (
            info.peer.map(folded),
            info.arrived.unwrap_or_else(Instant::now),
        ),
        None => (peer_of(extensions), Instant::now()),
    }
}

/// Returns the client's address as found by [`real_ip`](crate::real_ip); without that layer, the peer's address.
#[cfg(feature = "rate-limit")]
pub(crate) fn client_of(extensions: &Extensions) -> Option<IpAddr> {
    let peer = match extensions.get::<ConnInfo>() {
        Some(ConnInfo { client, peer, .. }) => match client {
            Some(client) => return client.ip,
            None => peer.map(folded),
        },
        None => peer_of(extensions),
    };
    peer.map(|peer| peer.ip())
}
