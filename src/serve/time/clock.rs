use std::time::Duration;

use tokio::time::Instant;

/// A clock whose moments fit an atomic word: nanoseconds since the server began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

/// A moment of a [`Clock`]; [`Tick::NEVER`] is later than every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub u64);

impl Clock {
    pub(crate) fn new() -> Self {
        Clock {
            began: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::from_nanos(self.began.elapsed())
    }

    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.began + Duration::from_nanos(tick.0)
    }
}

impl Tick {
    pub(crate) const NEVER: Tick = Tick(u64::MAX);

    fn from_nanos(since: Duration) -> Self {
        Tick(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns the moment this long after; `NEVER` for `None`.
    pub(crate) fn after(self, wait: Option<Duration>) -> Self {
        match wait {
            Some(wait) => Tick(self.0.saturating_add(Tick::from_nanos(wait).0)),
            None => Tick::NEVER,
        }
    }

    pub(crate) fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
