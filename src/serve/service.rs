//! From hyper's request to the user's service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::header::EXPECT;
use http::{Extensions, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::answer::{Answer, AnswerFuture, Asker, ServeBody};
use super::app::App;
use super::exchange::Exchange;
use super::h2::Streams;
use super::request_body::RequestBody;
use crate::conn_info::ConnInfo;
use crate::deadlines::Deadlines;
use crate::reply::Reason;

/// The service that hyper calls for a connection.
pub(super) struct ConnService<A> {
    app: A,
    source: Source,
    /// What every request of this connection carries.
    extensions: Extensions,
}

/// Where a request's exchange comes from.
pub(super) enum Source {
    Http1(Arc<Exchange>),
    Http2(Arc<Streams>),
}

impl<A> ConnService<A> {
    pub fn new(app: A, source: Source) -> Self {
        let (server, conn) = match &source {
            Source::Http1(exchange) => (&exchange.server, &exchange.conn),
            Source::Http2(streams) => (&streams.server, &streams.conn),
        };
        let mut extensions = Extensions::new();
        if server.extensions {
            extensions.insert(conn.info);
        }
        if let Some(add) = &server.on_connection {
            add(&conn.info, &mut extensions);
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
                    let (asker, _) = Asker::of(&request, false);
                    return AnswerFuture::refused(asker);
                }
                let open = Streams::begin(streams, list_size(&request));
                if expects_continue(&request) {
                    streams.expects_continue(call, &open.exchange);
                }
                let most = streams.server.limits.effective_max_headers();
                too_large = request.headers().len() > most || streams.has_too_much_of_heads();
                (open.exchange.clone(), Some(open))
            }
        };
        let has_body = !request.body().is_end_stream();
        if has_body && open.is_none() {
            // Where would the other protocol begin? hyper hands over what it has not read of a chunked body. A server
            // may ignore an Upgrade (RFC 9110, 7.8).
            request.extensions_mut().remove::<OnUpgrade>();
        }
        let (asker, mut refusal) = Asker::of(&request, has_body);
        if too_large {
            refusal = Some(Reason::HeadTooLarge);
        }
        if open.is_none() && exchange.holds_back() {
            exchange.hold_call();
            let held = Box::new(HeldCall {
                app: self.app.clone(),
                extensions: self.extensions.clone(),
                request,
                grpc: has_body && asker.is_grpc(),
                refusal,
            });
            return AnswerFuture::new(Answer::Held, exchange, open, asker).holding(held);
        }
        let grpc = has_body && asker.is_grpc();
        let answer = begin(
            &self.app,
            &self.extensions,
            &exchange,
            request,
            grpc,
            refusal,
        );
        AnswerFuture::new(answer, exchange, open, asker)
    }
}

/// The client may be waiting for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
fn expects_continue<B>(request: &Request<B>) -> bool {
    let expects = request.headers().get(EXPECT);
    expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The size of an HTTP/2 header list (RFC 9113, 6.5.2), but for what the pseudo-headers' names take.
fn list_size<B>(request: &Request<B>) -> usize {
    const OVERHEAD: usize = 32;
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let host = uri.authority().map_or(0, |host| host.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    target + host + 4 * OVERHEAD + fields.sum::<usize>()
}

/// A call that waits until it is known whether its request is one.
pub(super) struct HeldCall<A> {
    app: A,
    extensions: Extensions,
    request: Request<Incoming>,
    grpc: bool,
    refusal: Option<Reason>,
}

impl<A: App> HeldCall<A> {
    #[cold]
    pub fn begin(self, exchange: &Arc<Exchange>) -> Answer<A::Future> {
        exchange.call_begins();
        begin(
            &self.app,
            &self.extensions,
            exchange,
            self.request,
            self.grpc,
            self.refusal,
        )
    }
}

/// Hands a request to the service, or refuses it. Inlined: a request is large, and each call moves it.
#[inline(always)]
fn begin<A: App>(
    app: &A,
    common: &Extensions,
    exchange: &Arc<Exchange>,
    mut request: Request<Incoming>,
    grpc: bool,
    refusal: Option<Reason>,
) -> Answer<A::Future> {
    let has_body = !request.body().is_end_stream();
    let epoch = exchange.begin_request(request.method(), request.uri(), has_body);
    if !common.is_empty() {
        let extensions = request.extensions_mut();
        if extensions.is_empty() {
            *extensions = common.clone();
        } else {
            extensions.extend(common.clone());
        }
    }
    if exchange.server.extensions {
        let extensions = request.extensions_mut();
        if let Some(info) = extensions.get_mut::<ConnInfo>() {
            info.arrived = Some(exchange.server.clock.instant(exchange.now()));
        }
        extensions.insert(Deadlines::new(exchange.clone(), epoch));
    }
    let expects = has_body && expects_continue(&request);
    // In place, and mapped once: a request is large to take apart and to put together.
    let request = request.map(|incoming| match has_body {
        true => RequestBody::new(incoming, exchange.clone(), epoch, expects, grpc),
        false => RequestBody::empty(),
    });
    match refusal {
        None if exchange.is_http2() => {
            // A panic in the call is its stream's: here it would end the connection with all others.
            match catch_unwind(AssertUnwindSafe(|| app.start(request))) {
                Ok(answer) => Answer::Service(answer),
                Err(panic) => Answer::Panicked(Some(panic)),
            }
        }
        None => Answer::Service(app.start(request)),
        Some(reason) => {
            exchange.close_after_this();
            Answer::Refusal(reason)
        }
    }
}
