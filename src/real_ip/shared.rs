use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Request, Response};

use super::Resolver;
use crate::conn_info::{ClientIp, ConnInfo, folded, peer_of};
use crate::control::Fact;
use crate::events::{Event, EventSink, RequestInfo};
use crate::reply::{RefusalReason, Reply, ReplyFormat};
use crate::served;

type Peer = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    pub resolver: Resolver,
    pub refusal: Option<Reply>,
    pub peer: Option<Arc<Peer>>,
    pub events: EventSink,
}

impl Shared {
    /// Finds the client, and adds it to the request. Returns the refusal of a request whose client is unknown; it takes
    /// the request's headers.
    pub(super) fn resolve<B>(&self, request: &mut Request<B>) -> Option<Response<Bytes>> {
        let peer = self.peer_of(request.extensions());
        let client = self.resolver.resolve(peer, request.headers());
        self.emit_source(&client);
        if let (None, Some(reply)) = (client.ip, &self.refusal) {
            self.emit_refusal(reply.reason(), request);
            let format = ReplyFormat::of(request);
            return Some(reply.answer(format, std::mem::take(request.headers_mut())));
        }
        if let Some(ip) = client.ip {
            served::learn(request.extensions(), Fact::Client(ip));
        }
        let extensions = request.extensions_mut();
        match extensions.get_mut::<ConnInfo>() {
            Some(info) => info.client = Some(client),
            // The only allocation, and only on servers other than this crate's.
            None => {
                let mut info = ConnInfo::new(peer, None);
                info.client = Some(client);
                extensions.insert(info);
            }
        }
        None
    }

    fn peer_of(&self, extensions: &Extensions) -> Option<SocketAddr> {
        match &self.peer {
            Some(peer) => peer(extensions).map(folded),
            None => peer_of(extensions),
        }
    }

    fn emit_source(&self, client: &ClientIp) {
        self.events.emit(|| Event::ClientAddress {
            source: client.source,
            peer: client.peer.map(|peer| peer.ip()),
            header: self.resolver.header_name(),
        });
    }

    fn emit_refusal<B>(&self, reason: RefusalReason, request: &Request<B>) {
        self.events.emit(|| Event::Refused {
            reason,
            request: RequestInfo::from_head(
                request.method(),
                request.uri(),
                request.headers(),
                request.extensions(),
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
