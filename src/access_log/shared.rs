use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, Request};
use tracing::Level;

use super::line::Line;
use crate::conn_info::{ClientIp, folded, peer_of};
use crate::logs::wanted;

type Client = dyn Fn(Option<SocketAddr>, &HeaderMap) -> Option<IpAddr> + Send + Sync;

type Peer = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Shared {
    pub client: Option<Arc<Client>>,
    pub peer: Option<Arc<Peer>>,
}

impl Shared {
    /// Starts the line of this request, if one is wanted. It is written when it is dropped at the latest.
    pub(super) fn line<B>(
        this: Option<&Self>,
        request: &Request<B>,
        is_grpc: bool,
    ) -> Option<Line> {
        let shared = this.filter(|_| wanted(Level::INFO))?;
        Some(shared.begin(request, is_grpc))
    }

    fn begin<B>(&self, request: &Request<B>, is_grpc: bool) -> Line {
        let extensions = request.extensions();
        let peer = match &self.peer {
            Some(peer) => peer(extensions).map(folded),
            None => peer_of(extensions),
        };
        let client = match (ClientIp::of(extensions), &self.client) {
            (Some(found), _) => found.ip,
            (None, Some(client)) => client(peer, request.headers()),
            (None, None) => peer.map(|peer| peer.ip().to_canonical()),
        };
        Line::new(request, is_grpc, peer, client)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("client", &self.client.is_some())
            .field("peer", &self.peer.is_some())
            .finish()
    }
}
