use std::sync::Arc;

use http::Request;
use http::request::Parts;

use super::RouteBodyLimit;
use crate::events::{Event, EventSink};
use crate::grpc;
use crate::reply::{RefusalReason, Reply};
use crate::served::Subject;

type PerRequest = dyn Fn(&Parts) -> Option<RouteBodyLimit> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    /// The limit; `None` if the layer is off.
    pub limit: Option<u64>,
    pub per_request: Option<Arc<PerRequest>>,
    /// `true` if gRPC calls are limited like other requests.
    pub grpc: bool,
    /// The refusal by the layer's own limit.
    pub reply: Arc<Reply>,
    pub events: EventSink,
}

/// Creates the refusal that names the limit.
pub(super) fn reply(limit: u64) -> Reply {
    let unit = if limit == 1 { "byte" } else { "bytes" };
    Reply::new(RefusalReason::BodyTooLarge)
        .saying(format!("the request body is larger than {limit} {unit}"))
}

/// Creates the refusal of a body that is over the layer's limit and over that of any route.
pub(super) fn reply_over_all(limit: u64, largest: u64) -> Reply {
    Reply::new(RefusalReason::BodyTooLarge).saying(format!(
        "the request body is larger than {largest} bytes, the largest limit of any route (the service's is {limit})"
    ))
}

impl Shared {
    /// Returns the limit of a request for which the function returned `own`.
    pub(crate) fn limit_of<B>(
        &self,
        own: Option<RouteBodyLimit>,
        request: &Request<B>,
    ) -> Option<u64> {
        self.limit?;
        let limit = match own.or_else(|| request.extensions().get().copied()) {
            Some(RouteBodyLimit { limit }) => limit,
            None if !self.grpc && grpc::is_call(request.method(), request.headers()) => None,
            None => self.limit,
        };
        // No body can be over it, so there is nothing to watch.
        limit.filter(|limit| *limit < u64::MAX)
    }
}

pub(super) fn emit_refused(events: &EventSink, subject: &Subject) {
    let reason = RefusalReason::BodyTooLarge;
    subject.emit(events, |request| Event::Refused { reason, request });
}
