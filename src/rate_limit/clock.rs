use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use crate::conn_info::arrival_of;

/// A source of time, in nanoseconds since a fixed moment, as the store keeps it for each key.
#[derive(Clone)]
pub(super) enum Clock {
    /// tokio's clock, so that a paused test clock applies here too; if it is not paused, it is the system's monotonic
    /// clock.
    Since(Instant),
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// The latest time, after 292 years: half of the range of `u64`, so that no sum of a time and a quota's span overflows.
const LATEST: u64 = 1 << 63;

impl Clock {
    #[cfg(any(test, feature = "redis"))]
    pub(super) fn now(&self) -> u64 {
        self.read(Instant::now)
    }

    /// Returns the time at which the request with these extensions arrived.
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
