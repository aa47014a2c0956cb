//! The terms of one request.

use std::time::Duration;

use http::{HeaderMap, Request, Response, Version};
use tokio::time::Instant;

use super::RouteTimeout;
use super::grpc::{Said, said};
use super::shared::Shared;
use crate::events::{Event, EventSink};
use crate::reply::{RefusalReason, Reply, ReplyBody, ReplyFormat, answers_grpc, grpc_trailers};
use crate::served::{Subject, TIMEOUT};

/// A request's deadline, and the data needed when it passes.
pub(crate) struct Terms {
    pub(super) limit: Limit,
    pub(super) format: ReplyFormat,
    /// `true` if the deadline covers the body too.
    pub(super) whole: bool,
    /// `true` if the protocol has trailers that every client reads.
    trailers: bool,
}

/// The part of the terms that goes on with the body.
pub(super) struct Limit {
    deadline: Instant,
    reason: RefusalReason,
    /// `true` if a route's own layer may take over from this one, which has no request to yield for itself.
    yields: bool,
    // Not the layer's whole state: without a listener there is no counter that all requests share.
    events: EventSink,
    subject: Subject,
}

impl Terms {
    /// Returns the terms of a request, whose time runs from now; `None` if it has no time limit.
    pub(super) fn of<B>(
        shared: &Shared,
        route: Option<RouteTimeout>,
        request: &mut Request<B>,
    ) -> Option<Self> {
        let time = match route {
            Some(route) => route.after,
            None => Some(shared.after),
        };
        if time.is_none() && !shared.grpc_timeout {
            return None;
        }
        let format = ReplyFormat::of(request);
        let mut client = None;
        if shared.grpc_timeout && format.is_grpc() {
            client = client_time(request.headers(), &shared.events);
        }
        let deadline = Instant::now().checked_add(shorter(time, client)?)?;
        let limit = Limit {
            deadline,
            reason: shared.reason,
            yields: true,
            events: shared.events.clone(),
            subject: Subject::of(request, &shared.events, shared.whole),
        };
        Some(Terms::new(limit, format, shared.whole, request.version()))
    }

    /// Returns the terms of a route that has taken over from the layers further out.
    pub(crate) fn of_route<B>(
        time: Option<Duration>,
        grpc_timeout: bool,
        reason: RefusalReason,
        subject: &Subject,
        request: &Request<B>,
    ) -> Option<Self> {
        if time.is_none() && !grpc_timeout {
            return None;
        }
        let events = subject.event_sink();
        let format = ReplyFormat::of(request);
        let mut client = None;
        if grpc_timeout && format.is_grpc() {
            client = client_time(request.headers(), &events);
        }
        let limit = Limit {
            deadline: Instant::now().checked_add(shorter(time, client)?)?,
            reason,
            yields: false,
            events,
            subject: subject.clone(),
        };
        Some(Terms::new(limit, format, false, request.version()))
    }

    fn new(limit: Limit, format: ReplyFormat, whole: bool, version: Version) -> Self {
        Terms {
            limit,
            format,
            whole,
            trailers: version >= Version::HTTP_2,
        }
    }

    /// Returns the refusal.
    pub(crate) fn refuse<B>(self) -> Response<ReplyBody<B>> {
        self.limit.emit();
        // The request's own header map went in with the request.
        let reply = Reply::new(self.limit.reason);
        ReplyBody::refusal(reply.answer(self.format, HeaderMap::new()))
    }

    /// Returns `true` if a response with this head can be ended early by trailers: gRPC over HTTP/2. gRPC-Web has its
    /// status in the data, and below HTTP/2 a body that ends is complete, whatever its trailers say.
    pub(crate) fn ends_by_trailers(&self, answer: &HeaderMap) -> bool {
        self.trailers && answers_grpc(answer)
    }
}

fn shorter(own: Option<Duration>, client: Option<Duration>) -> Option<Duration> {
    match (own, client) {
        (Some(own), Some(client)) => Some(own.min(client)),
        (own, client) => own.or(client),
    }
}

/// Returns the time that `grpc-timeout` names.
fn client_time(headers: &HeaderMap, events: &EventSink) -> Option<Duration> {
    match said(headers) {
        Said::Within(time) => return Some(time),
        Said::Malformed => events.emit(|| Event::MalformedGrpcTimeout),
        Said::Nothing => {}
    }
    None
}

impl Limit {
    /// Returns the deadline, unless a route's own layer has taken over by now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let taken_over = self.yields && self.subject.is_taken_over(TIMEOUT);
        (!taken_over).then_some(self.deadline)
    }

    /// Records that the body ends early because of it, in an error that outer layers see.
    pub(crate) fn give_up(&self) {
        self.subject.timed_out();
    }

    /// Emits the expiry.
    pub(crate) fn emit(&self) {
        let reason = self.reason;
        self.subject
            .emit(&self.events, |request| Event::Refused { reason, request });
    }

    /// Returns the refusal as the trailers of a gRPC response.
    pub(crate) fn grpc_trailers(&self) -> HeaderMap {
        grpc_trailers(self.reason)
    }
}
