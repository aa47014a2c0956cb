use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Method, Request, Uri};

use super::Served;
use super::takeover::{self, Takeover};
use crate::conn_info::{ConnInfo, peer_of};
use crate::events::{Event, EventSink, RequestInfo, target};
use crate::grpc;
use crate::id::RequestId;
use crate::route::Route;

/// The request of a limit: its name in an event that may be emitted when the request itself has gone on to the service,
/// and the word of a route's own layer, which may take over.
///
/// The server that serves it knows both, and nothing is allocated. On another server the word is allocated, and the
/// name is copied for a listener.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Unknown,
    Served(Served),
    Own(Arc<Takeover>),
    Named(Arc<Named>),
}

#[derive(Debug)]
pub(crate) struct Named {
    method: Method,
    uri: Uri,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    route: Option<Route>,
    grpc: bool,
    id: Option<RequestId>,
    takeover: Option<Arc<Takeover>>,
}

impl Subject {
    /// Returns the subject of a layer's limit, whose `events` a route's own layer emits to as well. `ends`: the server
    /// has to know when the layer ends the request.
    pub(crate) fn of<B>(request: &mut Request<B>, events: &EventSink, ends: bool) -> Self {
        let may_be_taken_over = takeover::is_expected();
        if !(may_be_taken_over || ends || events.has_listener()) {
            return Subject::Unknown;
        }
        let served = Served::of(request.extensions());
        if served.is_known() {
            return Subject::Served(served);
        }
        let mut takeover = None;
        if may_be_taken_over {
            takeover = Some(Takeover::of(request.extensions_mut(), events));
        }
        if !events.has_listener() {
            return takeover.map_or(Subject::Unknown, Subject::Own);
        }
        let extensions = request.extensions();
        let client = extensions.get::<ConnInfo>().and_then(|info| info.client);
        let grpc = grpc::is_call(request.method(), request.headers());
        Subject::Named(Arc::new(Named {
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer: peer_of(extensions),
            client: client.and_then(|client| client.ip),
            route: Route::of(request, grpc),
            grpc,
            id: RequestId::of(extensions).cloned(),
            takeover,
        }))
    }

    /// Makes the layers further out yield.
    pub(crate) fn take_over(&self, what: u8) {
        match self {
            Subject::Served(served) => served.take_over(what),
            Subject::Own(takeover) => takeover.take(what),
            Subject::Named(named) => named.takeover.iter().for_each(|it| it.take(what)),
            Subject::Unknown => {}
        }
    }

    /// Returns whether a layer further in has taken over.
    pub(crate) fn is_taken_over(&self, what: u8) -> bool {
        let taken = match self {
            Subject::Served(served) => served.taken_over(),
            Subject::Own(takeover) => takeover.taken(),
            Subject::Named(named) => named.takeover.as_ref().map_or(0, |it| it.taken()),
            Subject::Unknown => 0,
        };
        taken & what != 0
    }

    /// Returns the sink of the layers further out, or of the server.
    pub(crate) fn event_sink(&self) -> EventSink {
        match self {
            Subject::Served(served) => served.event_sink(),
            Subject::Own(takeover) => takeover.event_sink(),
            Subject::Named(named) => {
                let takeover = named.takeover.as_ref();
                takeover.map_or_else(EventSink::none, |it| it.event_sink())
            }
            Subject::Unknown => EventSink::none(),
        }
    }

    /// Records that the time granted by a layer is over.
    pub(crate) fn timed_out(&self) {
        if let Subject::Served(served) = self {
            served.timed_out();
        }
    }

    /// Emits an event about this request.
    pub(crate) fn emit(
        &self,
        events: &EventSink,
        event: impl for<'a> Fn(RequestInfo<'a>) -> Event<'a>,
    ) {
        if events.has_listener() {
            self.describe(&mut |request| events.emit(|| event(request)));
        }
    }

    /// Shows what is known of the request, once.
    pub(crate) fn describe(&self, with: &mut dyn FnMut(RequestInfo<'_>)) {
        match self {
            Subject::Served(served) if served.describe(with) => {}
            Subject::Served(_) | Subject::Own(_) | Subject::Unknown => with(RequestInfo::default()),
            Subject::Named(named) => with(named.info()),
        }
    }
}

impl Named {
    fn info(&self) -> RequestInfo<'_> {
        let mut info = RequestInfo::from_peer(self.peer);
        info.method = Some(self.method.as_str());
        info.path = Some(target(&self.uri));
        info.client = self.client;
        info.route = self.route.as_ref().map(Route::as_str);
        info.grpc = self.grpc;
        info.request_id = self.id.as_ref().map(RequestId::as_str);
        info
    }
}
