use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::serve::time::{Clock, Tick};

/// The time of a poll of the exchange's owner: the clock is read at most once per poll.
pub(super) struct PollTime {
    /// The clock's reading; 0 if it has not been read in this poll, `NEVER` between two polls.
    now: AtomicU64,
}

impl PollTime {
    pub(super) fn new() -> Self {
        PollTime {
            now: AtomicU64::new(0),
        }
    }

    pub(super) fn begin(&self) {
        self.now.store(0, Relaxed);
    }

    /// Ends a poll: another task may ask for the time before the next one.
    pub(super) fn end(&self) {
        self.now.store(Tick::NEVER.0, Relaxed);
    }

    pub(super) fn in_poll(&self) -> bool {
        self.now.load(Relaxed) != Tick::NEVER.0
    }

    pub(super) fn get(&self, clock: &Clock) -> Tick {
        match Tick(self.now.load(Relaxed)) {
            Tick(0) => {
                let now = clock.now();
                // Another task may ask while the poll ends: it must leave nothing behind.
                let _ = self.now.compare_exchange(0, now.0, Relaxed, Relaxed);
                now
            }
            Tick::NEVER => clock.now(),
            now => now,
        }
    }
}
