//! From hyper's request to the user's service.

use std::sync::Arc;

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{Extensions, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::answer::{Answer, AnswerFuture, Asker, ServeBody};
use super::app::App;
use super::deadlines::Deadlines;
use super::exchange::Exchange;
use super::h2::Streams;
use super::request_body::RequestBody;
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
    type Error = std::convert::Infallible;
    type Future = AnswerFuture<A>;

    fn call(&self, request: Request<Incoming>) -> AnswerFuture<A> {
        let (exchange, open) = match &self.source {
            Source::Http1(exchange) => (exchange.clone(), None),
            Source::Http2(streams) => {
                let open = Streams::begin(streams);
                (open.exchange.clone(), Some(open))
            }
        };
        let (mut head, incoming) = request.into_parts();
        let has_body = !incoming.is_end_stream();
        let epoch = exchange.begin_request(&head.method, &head.uri, has_body);
        let asker = Asker::of(&head);
        let body = if has_body {
            let expects = head.headers.contains_key(EXPECT);
            RequestBody::new(incoming, exchange.clone(), epoch, expects)
        } else {
            RequestBody::empty()
        };
        if !self.extensions.is_empty() {
            if head.extensions.is_empty() {
                head.extensions = self.extensions.clone();
            } else {
                head.extensions.extend(self.extensions.clone());
            }
        }
        if exchange.server.extensions {
            head.extensions
                .insert(Deadlines::new(exchange.clone(), epoch));
        }
        let answer = if names_its_host(&head) {
            Answer::Service(self.app.oneshot(Request::from_parts(head, body)))
        } else {
            exchange.close_after_this();
            Answer::Refusal(Reason::NoHost)
        };
        AnswerFuture::new(answer, exchange, open, asker)
    }
}

/// RFC 9112, 3.2: a server must refuse an HTTP/1.1 request that has no `Host`, or more than one. Two
/// servers on the way that choose differently are a way around the first one's rules.
fn names_its_host(head: &Parts) -> bool {
    if head.version != Version::HTTP_11 {
        return true;
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    hosts.next().is_some() && hosts.next().is_none()
}
