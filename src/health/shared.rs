use std::sync::Arc;

use super::Health;
use super::answer::Probe;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub health: Health,
    pub live: Arc<str>,
    pub ready: Arc<str>,
    pub startup: Arc<str>,
}

impl Shared {
    pub(super) fn probe(&self, path: &str) -> Option<Probe> {
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
