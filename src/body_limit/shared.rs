use std::sync::Arc;

use http::Extensions;
use http::request::Parts;

use super::RouteBodyLimit;
use crate::events::{Event, Events};
use crate::reply::Reason;
use crate::served::Subject;

type PerRequest = dyn Fn(&Parts) -> Option<RouteBodyLimit> + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    /// `None`: the layer is off.
    pub limit: Option<u64>,
    pub per_request: Option<Arc<PerRequest>>,
    pub events: Events,
}

impl Shared {
    /// The limit of a request for which `own` was said.
    pub(crate) fn limit_of(
        &self,
        own: Option<RouteBodyLimit>,
        extensions: &Extensions,
    ) -> Option<u64> {
        self.limit?;
        let limit = match own.or_else(|| extensions.get().copied()) {
            Some(RouteBodyLimit { limit }) => limit,
            None => self.limit,
        };
        // No body can be over it, so there is nothing to watch.
        limit.filter(|limit| *limit < u64::MAX)
    }
}

pub(super) fn emit_refused(events: &Events, subject: &Subject) {
    let reason = Reason::BodyTooLarge;
    subject.emit(events, |request| Event::Refused { reason, request });
}
