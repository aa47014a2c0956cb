//! The path from hyper's request to the user's service.

use std::sync::Arc;

use http::{Extensions, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::app::App;
use super::call::{Answer, HeldCall, begin, expects_continue};
use super::request_context::RequestContext;
use super::response::{AnswerFuture, ServeBody};
use crate::reply::RefusalReason;
use crate::serve::exchange::{Exchange, OpenStream, Streams};

/// The service that hyper calls for a connection.
pub(crate) struct ConnService<A> {
    app: A,
    source: Source,
    /// The extensions of every request of this connection.
    extensions: Extensions,
}

/// The origin of a request's exchange.
pub(crate) enum Source {
    Http1(Arc<Exchange>),
    Http2(Arc<Streams>),
}

impl<A> ConnService<A> {
    pub(crate) fn new(app: A, source: Source) -> Self {
        let (server, conn) = match &source {
            Source::Http1(exchange) => (&exchange.server, &exchange.conn),
            Source::Http2(streams) => (&streams.server, &streams.conn),
        };
        let mut extensions = Extensions::new();
        if server.extensions {
            extensions.insert(conn.info);
            #[cfg(feature = "axum")]
            if let Some(peer) = conn.info.peer {
                extensions.insert(axum::extract::ConnectInfo(peer));
            }
        }
        if let Some(add) = &server.on_connection {
            add(&conn.info, &mut extensions);
        }
        if !extensions.is_empty() {
            make_room(&mut extensions);
        }
        ConnService {
            app,
            source,
            extensions,
        }
    }
}

impl<A: App> hyper::service::Service<Request<Incoming>> for ConnService<A> {
    type Response = Response<ServeBody<A>>;
    type Error = h2::Error;
    type Future = AnswerFuture<A>;

    fn call(&self, mut request: Request<Incoming>) -> AnswerFuture<A> {
        let mut too_large = false;
        let (exchange, open) = match &self.source {
            Source::Http1(exchange) => (exchange.clone(), None),
            Source::Http2(streams) => {
                let call = streams.count_call();
                if streams.leaving.refuses(|| streams.server.clock.now()) {
                    let (context, _) = RequestContext::of(&request, false);
                    return AnswerFuture::refused(context);
                }
                let open = OpenStream::begin(streams, list_size(&request));
                if expects_continue(&request) {
                    streams.expects_continue(call, &open.exchange);
                }
                let most = streams.server.limits.effective_max_headers();
                too_large = request.headers().len() > most || streams.heads_exceed_limit();
                (open.exchange.clone(), Some(open))
            }
        };
        let has_body = !request.body().is_end_stream();
        if has_body && open.is_none() {
            // Where would the other protocol begin? hyper hands over the unread part of a chunked body. A server may
            // ignore an Upgrade (RFC 9110, 7.8).
            request.extensions_mut().remove::<OnUpgrade>();
        }
        let (context, mut refusal) = RequestContext::of(&request, has_body);
        if too_large {
            refusal = Some(RefusalReason::HeadTooLarge);
        }
        if open.is_none() && exchange.holds_back() {
            exchange.hold_call();
            let held = Box::new(HeldCall {
                app: self.app.clone(),
                extensions: self.extensions.clone(),
                request,
                grpc: context.format.grpc(),
                refusal,
            });
            return AnswerFuture::new(Answer::Held, exchange, open, context).holding(held);
        }
        let grpc = context.format.grpc();
        let answer = begin(
            &self.app,
            &self.extensions,
            &exchange,
            request,
            grpc,
            refusal,
        );
        AnswerFuture::new(answer, exchange, open, context)
    }
}

/// Makes room for seven extensions: a clone has as much as its original, and a map that layers and a router fill beyond
/// its room moves all that is in it. There is no other way to ask for the room.
fn make_room(extensions: &mut Extensions) {
    #[derive(Clone)]
    struct Place<const AT: u8>;
    extensions.insert(Place::<0>);
    extensions.insert(Place::<1>);
    extensions.insert(Place::<2>);
    extensions.insert(Place::<3>);
    extensions.remove::<Place<0>>();
    extensions.remove::<Place<1>>();
    extensions.remove::<Place<2>>();
    extensions.remove::<Place<3>>();
}

/// Returns the size of an HTTP/2 header list (RFC 9113, 6.5.2), without the names of the pseudo-headers.
fn list_size<B>(request: &Request<B>) -> usize {
    const OVERHEAD: usize = 32;
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let host = uri.authority().map_or(0, |host| host.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    target + host + 4 * OVERHEAD + fields.sum::<usize>()
}
