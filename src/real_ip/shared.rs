use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use http::request::Parts;

use super::Resolver;
use crate::conn_info::{ClientIp, folded, peer_of};
use crate::events::{Event, EventSink, RequestInfo};
use crate::reply::{RefusalReason, Reply};

type Peer = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    pub resolver: Resolver,
    pub refusal: Option<Reply>,
    pub peer: Option<Arc<Peer>>,
    pub events: EventSink,
}

impl Shared {
    pub(super) fn peer_of(&self, extensions: &Extensions) -> Option<SocketAddr> {
        match &self.peer {
            Some(peer) => peer(extensions).map(folded),
            None => peer_of(extensions),
        }
    }

    pub(super) fn emit_source(&self, client: &ClientIp) {
        self.events.emit(|| Event::ClientAddress {
            source: client.source,
            peer: client.peer.map(|peer| peer.ip()),
            header: self.resolver.header_name(),
        });
    }

    pub(super) fn emit_refusal(&self, reason: RefusalReason, head: &Parts) {
        self.events.emit(|| Event::Refused {
            reason,
            request: RequestInfo::from_head(
                &head.method,
                &head.uri,
                &head.headers,
                &head.extensions,
            ),
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("resolver", &self.resolver)
            .field("refuse_unknown", &self.refusal.is_some())
            .finish_non_exhaustive()
    }
}
