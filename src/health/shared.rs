use std::sync::Arc;

use http::Request;

use super::Health;
use super::answer::{Pending, Probe};

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub health: Health,
    pub live: Arc<str>,
    pub ready: Arc<str>,
    pub startup: Arc<str>,
}

impl Shared {
    /// Returns the answer to a probe, for which it takes the request's headers; `None` for any other request, and where
    /// the layer is off.
    pub(super) fn answer<B>(this: Option<&Self>, request: &mut Request<B>) -> Option<Pending> {
        let shared = this?;
        let probe = shared.probe(request.uri().path())?;
        Some(probe.answer(&shared.health, request))
    }

    fn probe(&self, path: &str) -> Option<Probe> {
        if path.is_empty() {
            None
        } else if path == &*self.ready {
            Some(Probe::Readiness)
        } else if path == &*self.live {
            Some(Probe::Liveness)
        } else if path == &*self.startup {
            Some(Probe::Startup)
        } else {
            None
        }
    }
}
