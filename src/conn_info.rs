use std::net::SocketAddr;

/// The two ends of the connection that a request came over; `serve` puts it into every request's
/// extensions.
///
/// These are the socket's addresses. Behind a proxy the peer is the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The other end; `None` where the transport has no such address (a Unix socket).
    pub peer: Option<SocketAddr>,
    /// This end; `None` where the transport has no such address.
    pub local: Option<SocketAddr>,
}

impl ConnInfo {
    /// The two ends of a connection.
    pub const fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        ConnInfo { peer, local }
    }
}
