//! What is in force for one request.

use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use tokio::time::Instant;

use super::RouteTimeout;
use super::grpc::{Said, said};
use super::shared::Shared;
use crate::events::{Event, Events};
use crate::reply::{Asked, Reason, Reply, ReplyBody, is_native_grpc};
use crate::served::Subject;

/// A request's deadline, and what is to be known when it passes.
pub(super) struct Terms {
    pub limit: Limit,
    pub asked: Asked,
    /// The deadline is for the body too.
    pub whole: bool,
    /// The protocol has trailers that every client reads.
    trailers: bool,
}

/// What the body goes on with.
pub(super) struct Limit {
    pub deadline: Instant,
    reason: Reason,
    // Not the layer's whole state: without a listener there is no counter that all requests share.
    events: Events,
    subject: Subject,
}

impl Terms {
    /// `None` if the request has all the time it wants. The time runs from now.
    pub fn of<B>(
        shared: &Shared,
        route: Option<RouteTimeout>,
        request: &Request<B>,
    ) -> Option<Self> {
        let mut time = match route {
            Some(route) => route.after,
            None => Some(shared.after),
        };
        if time.is_none() && !shared.grpc_timeout {
            return None;
        }
        let asked = Asked::of(request);
        if shared.grpc_timeout && asked.is_grpc() {
            match said(request.headers()) {
                Said::Nothing => {}
                Said::Within(client) => time = Some(time.map_or(client, |own| own.min(client))),
                Said::Malformed => shared.events.tell(|| Event::MalformedGrpcTimeout),
            }
        }
        Some(Terms {
            limit: Limit {
                deadline: Instant::now().checked_add(time?)?,
                reason: shared.reason,
                events: shared.events.clone(),
                subject: match shared.events.is_heard() {
                    true => Subject::of(request, true),
                    // Without a listener only the server has to know that the time was over.
                    false => Subject::served(request, shared.whole),
                },
            },
            asked,
            whole: shared.whole,
            trailers: request.version() >= Version::HTTP_2,
        })
    }

    /// The refusal.
    pub fn refuse<B>(self) -> Response<ReplyBody<B>> {
        self.limit.tell();
        // The request's own header map went in with the request.
        let reply = Reply::new(self.limit.reason);
        ReplyBody::refusal(reply.answer(self.asked, HeaderMap::new()))
    }

    /// Whether an answer of this head can be ended early by trailers: gRPC over HTTP/2. gRPC-Web has its
    /// status in the data, and below HTTP/2 a body that ends is complete, whatever its trailers say.
    pub fn ends_by_trailers(&self, answer: &HeaderMap) -> bool {
        let kind = answer.get(header::CONTENT_TYPE);
        self.trailers && kind.is_some_and(|kind| is_native_grpc(kind.as_bytes()))
    }
}

impl Limit {
    /// The body ends early because of it, in an error that outer layers see.
    pub fn give_up(&self) {
        self.subject.timed_out();
    }

    /// Tells that it has passed.
    pub fn tell(&self) {
        let reason = self.reason;
        self.subject
            .emit(&self.events, |request| Event::Refused { reason, request });
    }

    /// The refusal as the trailers of a gRPC answer.
    pub fn grpc_trailers(&self) -> HeaderMap {
        // From the one table: what a Trailers-Only answer says beside its content type.
        let mut headers = HeaderMap::with_capacity(3);
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        let asked = Asked::head(&Method::POST, Version::HTTP_2, &headers);
        let refusal = Reply::new(self.reason).answer(asked, headers);
        let mut trailers = refusal.into_parts().0.headers;
        trailers.remove(header::CONTENT_TYPE);
        trailers
    }
}
