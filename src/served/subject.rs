use std::net::{IpAddr, SocketAddr};

use http::{Method, Request, Uri};

use super::Served;
use crate::events::{Event, Events, RequestInfo, target};
use crate::id::RequestId;
use crate::route::{self, Route};

/// The subject of an event that may be emitted after the request itself has moved into the service.
///
/// The server that serves the request knows its name. On another server the name is copied, which costs an allocation
/// and is done only if there is a listener.
#[derive(Debug, Default)]
pub(crate) enum Subject {
    #[default]
    Unknown,
    Served(Served),
    Own(Box<Own>),
}

#[derive(Debug)]
pub(crate) struct Own {
    method: Method,
    uri: Uri,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    route: Option<Route>,
    id: Option<RequestId>,
}

impl Subject {
    /// Names the request if `wanted` and if its server knows it, without copying.
    pub fn served<B>(request: &Request<B>, wanted: bool) -> Self {
        if !wanted {
            return Subject::Unknown;
        }
        let served = Served::of(request.extensions());
        match served.is_known() {
            true => Subject::Served(served),
            false => Subject::Unknown,
        }
    }

    /// Names the request if `wanted`, which is `false` if there is no listener.
    pub fn of<B>(request: &Request<B>, wanted: bool) -> Self {
        if !wanted {
            return Subject::Unknown;
        }
        let extensions = request.extensions();
        let served = Served::of(extensions);
        if served.is_known() {
            return Subject::Served(served);
        }
        let head = RequestInfo::from_head(request.method(), request.uri(), extensions);
        Subject::Own(Box::new(Own {
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer: head.peer,
            client: head.client,
            route: route::matched(extensions).cloned(),
            id: RequestId::of(extensions).cloned(),
        }))
    }

    /// Records that the time granted by a layer is over.
    pub fn timed_out(&self) {
        if let Subject::Served(served) = self {
            served.timed_out();
        }
    }

    /// Emits an event about this request.
    pub fn emit(&self, events: &Events, event: impl for<'a> Fn(RequestInfo<'a>) -> Event<'a>) {
        if !events.is_heard() {
            return;
        }
        let emit = &mut |request: RequestInfo<'_>| events.tell(|| event(request));
        match self {
            Subject::Served(served) if served.describe(emit) => {}
            Subject::Served(_) | Subject::Unknown => emit(RequestInfo::default()),
            Subject::Own(own) => emit(own.info()),
        }
    }
}

impl Own {
    fn info(&self) -> RequestInfo<'_> {
        let mut info = RequestInfo::from_peer(self.peer);
        info.method = Some(self.method.as_str());
        info.path = Some(target(&self.uri));
        info.client = self.client;
        info.route = self.route.as_ref().map(route::name);
        info.request_id = self.id.as_ref().map(RequestId::as_str);
        info
    }
}
