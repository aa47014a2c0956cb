use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

#[cfg(feature = "serve")]
use crate::deadlines::Deadlines;

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;
#[cfg(feature = "serve")]
type SetDeadlines = dyn Fn(&Deadlines) + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Settings {
    /// The time; `Some(None)` means no limit at all.
    pub timeout: Option<Option<Duration>>,
    /// The limit; `Some(None)` means no limit at all.
    pub body_limit: Option<Option<u64>>,
    pub gateway: bool,
    pub ignore_grpc_timeout: bool,
    pub streaming: bool,
    #[cfg(feature = "serve")]
    pub deadlines: Option<Arc<SetDeadlines>>,
    pub when: Option<Arc<Predicate>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("timeout", &self.timeout)
            .field("body_limit", &self.body_limit)
            .field("gateway", &self.gateway)
            .field("streaming", &self.streaming)
            .field("when", &self.when.is_some())
            .finish_non_exhaustive()
    }
}
