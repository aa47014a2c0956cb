//! Names and facts of requests, beyond their heads, for events and reports.

use std::net::{IpAddr, SocketAddr};

use crate::events::RequestInfo;
use crate::id::RequestId;
use crate::route::Route;

/// The facts that layers have learnt.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    pub client: Option<IpAddr>,
    pub route: Option<Route>,
    pub id: Option<RequestId>,
    /// `true` for a gRPC call.
    pub grpc: bool,
}

impl Facts {
    /// Creates the facts of a request that no layer has seen yet.
    pub(crate) fn new(grpc: bool) -> Self {
        Facts {
            grpc,
            ..Facts::default()
        }
    }
}

/// A request's name and facts at one moment, taken out of the lock: a listener may ask for them again.
#[derive(Clone)]
pub(crate) struct Known {
    peer: Option<SocketAddr>,
    /// The name, as in `GET /path`; empty if there is no request.
    name: String,
    facts: Facts,
}

impl Known {
    pub(crate) fn new(peer: Option<SocketAddr>, name: String, facts: Facts) -> Self {
        Known { peer, name, facts }
    }

    /// Creates the facts of a connection without a request.
    pub(crate) fn of_peer(peer: Option<SocketAddr>) -> Self {
        Known {
            peer,
            name: String::new(),
            facts: Facts::default(),
        }
    }

    pub(crate) fn info(&self) -> RequestInfo<'_> {
        let mut info = RequestInfo::from_peer(self.peer);
        if let Some((method, path)) = self.name.split_once(' ') {
            info.method = Some(method);
            info.path = Some(path);
        }
        info.client = self.facts.client;
        info.route = self.facts.route.as_ref().map(Route::as_str);
        info.grpc = self.facts.grpc;
        info.request_id = self.facts.id.as_ref().map(RequestId::as_str);
        info
    }
}
