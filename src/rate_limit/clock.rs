use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use crate::conn_info::arrival_of;

/// Where the time comes from. Nanoseconds since a fixed moment: what the store keeps for each key.
#[derive(Clone)]
pub(super) enum Clock {
    /// tokio's, so that a paused test clock holds here too; without a paused clock it is the system's
    /// monotonic one.
    Since(Instant),
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// 292 years: half of the numbers that there are, so that no sum of a time and a quota's span overflows.
const LATEST: u64 = 1 << 63;

impl Clock {
    #[cfg(any(test, feature = "redis"))]
    pub(super) fn now(&self) -> u64 {
        self.read(Instant::now)
    }

    /// The time at which a request with these extensions came.
    pub(super) fn at_arrival(&self, extensions: &Extensions) -> u64 {
        self.read(|| arrival_of(extensions))
    }

    fn read(&self, now: impl FnOnce() -> Instant) -> u64 {
        let now = match self {
            Clock::Since(origin) => now().saturating_duration_since(*origin),
            Clock::Given(read) => read(),
        };
        u64::try_from(now.as_nanos()).map_or(LATEST, |now| now.min(LATEST))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::Since(Instant::now())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::Since(_) => "monotonic",
            Clock::Given(_) => "given",
        })
    }
}
