//! The link between the layers and the server that serves their request.
//!
//! [`serve`](mod@crate::serve) emits events about requests that it cuts or gives up, but only the layers know the
//! request's route, client and id. The layers see a future or a body dropped, but only the server knows the reason.
//! Both meet in the extension [`Deadlines`](crate::serve::Deadlines), so that the link costs no allocation of its own.

mod subject;
mod takeover;

pub(crate) use subject::Subject;
pub(crate) use takeover::{BODY_LIMIT, TIMEOUT, expect_takeover};

use http::Extensions;

use crate::control::Fact;
#[cfg(feature = "serve")]
use crate::deadlines::Deadlines;
use crate::events::{EventSink, RequestInfo};
use crate::phase::Lifecycle;
use crate::track::BodyEnd;

/// A handle on a request, empty if another server serves it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Served {
    #[cfg(feature = "serve")]
    request: Option<Deadlines>,
}

impl Served {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        #[cfg(not(feature = "serve"))]
        let _ = extensions;
        Served {
            #[cfg(feature = "serve")]
            request: extensions.get().cloned(),
        }
    }

    /// Returns `true` if the request is served by this crate's server.
    pub(crate) fn is_known(&self) -> bool {
        #[cfg(feature = "serve")]
        return self.request.is_some();
        #[cfg(not(feature = "serve"))]
        false
    }

    /// Passes the server's info about the request to `with`; returns `false` if there is none.
    pub(crate) fn describe(&self, with: &mut dyn FnMut(RequestInfo<'_>)) -> bool {
        #[cfg(feature = "serve")]
        if let Some(request) = &self.request {
            let (request, epoch) = request.served();
            return request.describe(epoch, with);
        }
        let _ = with;
        false
    }

    #[cfg_attr(not(any(feature = "metrics", feature = "tracing")), allow(dead_code))]
    /// Returns the true end, where a body or a future only shows that it failed or was dropped.
    pub(crate) fn end(&self, seen: BodyEnd) -> BodyEnd {
        #[cfg(feature = "serve")]
        if let (BodyEnd::Cancelled | BodyEnd::Error, Some(request)) = (seen, &self.request) {
            let (request, epoch) = request.served();
            return request.ended_by(epoch).unwrap_or(seen);
        }
        seen
    }

    /// A route's own layer takes these over from the layers further out.
    pub(crate) fn take_over(&self, what: u8) {
        #[cfg(feature = "serve")]
        if let Some(request) = &self.request {
            let (request, epoch) = request.served();
            request.take_over(epoch, what);
        }
        let _ = what;
    }

    /// Returns what has been taken over so.
    pub(crate) fn taken_over(&self) -> u8 {
        #[cfg(feature = "serve")]
        if let Some(request) = &self.request {
            let (request, epoch) = request.served();
            return request.taken_over(epoch);
        }
        0
    }

    /// Returns the sink of the server's events.
    pub(crate) fn event_sink(&self) -> EventSink {
        #[cfg(feature = "serve")]
        if let Some(request) = &self.request {
            return request.served().0.event_sink().clone();
        }
        EventSink::none()
    }

    /// Records that the time granted by a layer is over.
    pub(crate) fn timed_out(&self) {
        #[cfg(feature = "serve")]
        if let Some(request) = &self.request {
            let (request, epoch) = request.served();
            request.ends_by(epoch, BodyEnd::Timeout);
        }
    }
}

/// Returns `true` if the server drains but must still serve this request, because its client could not know of the
/// drain when it sent it.
pub(crate) fn is_admitted(extensions: &Extensions) -> bool {
    #[cfg(feature = "serve")]
    if let Some(request) = extensions.get::<Deadlines>() {
        let (request, epoch) = request.served();
        return request.is_admitted(epoch);
    }
    #[cfg(not(feature = "serve"))]
    let _ = extensions;
    false
}

/// Returns the phase of the process whose server serves the request.
pub(crate) fn lifecycle(extensions: &Extensions) -> Option<Lifecycle> {
    #[cfg(feature = "serve")]
    return extensions
        .get::<Deadlines>()
        .and_then(|request| request.served().0.lifecycle().cloned());
    #[cfg(not(feature = "serve"))]
    {
        let _ = extensions;
        None
    }
}

/// Records a fact about the request with these extensions.
pub(crate) fn learn(extensions: &Extensions, fact: Fact<'_>) {
    #[cfg(feature = "serve")]
    if let Some(request) = extensions.get::<Deadlines>() {
        let (request, epoch) = request.served();
        request.learn(epoch, fact);
    }
    #[cfg(not(feature = "serve"))]
    let _ = (extensions, fact);
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}
