use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};

use super::Draining;
use crate::events::{Event, EventSink, RequestInfo};
use crate::head::with_parts;
use crate::phase::{Lifecycle, Phase};
use crate::reply::{Reply, ReplyFormat};
use crate::served::is_admitted;

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
    pub(super) fn drains(&self) -> bool {
        self.lifecycle.phase() >= Phase::Draining
    }

    /// Returns the refusal of a request that comes during the drain, for which it takes the request's headers; `None` if
    /// the request is served all the same.
    #[cold]
    pub(super) fn refuse<B>(&self, request: &mut Request<B>) -> Option<Response<Bytes>> {
        if self.is_exempt(request) {
            return None;
        }
        self.emit_refusal(request);
        let format = ReplyFormat::of(request);
        let headers = std::mem::take(request.headers_mut());
        Some(self.reply.answer(format, headers))
    }

    /// Adds the extension to a request that passes.
    #[inline]
    pub(super) fn extend<B>(&self, request: &mut Request<B>) {
        if self.extension {
            let draining = Draining::from(self.lifecycle.clone());
            request.extensions_mut().insert(draining);
        }
    }

    fn is_exempt<B>(&self, request: &mut Request<B>) -> bool {
        let exempt = self.exempt.as_ref();
        exempt.is_some_and(|exempt| with_parts(request, |head| exempt(head)))
            || is_admitted(request.extensions())
    }

    fn emit_refusal<B>(&self, request: &Request<B>) {
        self.events.emit(|| Event::Refused {
            reason: self.reply.reason(),
            request: RequestInfo::from_head(
                request.method(),
                request.uri(),
                request.headers(),
                request.extensions(),
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
