use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use crate::events::{Event, EventSink, RequestInfo};
use crate::phase::Lifecycle;
use crate::reply::Reply;

type Exempt = dyn Fn(&Parts) -> bool + Send + Sync;

#[derive(Clone)]
pub(super) struct Shared {
    pub lifecycle: Lifecycle,
    pub reply: Reply,
    pub exempt: Option<Arc<Exempt>>,
    pub extension: bool,
    pub events: EventSink,
}

impl Shared {
    pub(super) fn emit_refusal(&self, head: &Parts) {
        self.events.emit(|| Event::Refused {
            reason: self.reply.reason(),
            request: RequestInfo::from_head(
                &head.method,
                &head.uri,
                &head.headers,
                &head.extensions,
            ),
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}
