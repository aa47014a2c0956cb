use std::fmt;
use std::time::Duration;

/// The minimum rate at which a peer must send a request body, or take a response.
///
/// A rate is measured in windows, and only during the time in which the server waits for the peer: the first
/// [`grace`](Self::grace) of that time is free, then each [`window`](Self::window) must move `bytes_per_second` x
/// window. Windows do not lend to each other, so a fast start never buys a slow rest. (Kestrel's `MinDataRate`, whose
/// default is 240 B/s too, averages over the whole body.)
///
/// A window in which the peer moves no byte is left to the stall deadline ([`read_stall`](crate::Timeouts::read_stall),
/// [`write_stall`](crate::Timeouts::write_stall)), if that is on: a pause shorter than a stall is not a slow peer.
///
/// ```
/// use lameduck::{MinRate, Timeouts};
/// use std::time::Duration;
///
/// let rate = MinRate::new(1_000).window(Duration::from_secs(5)).grace(Duration::from_secs(2));
/// let timeouts = Timeouts::default().min_read_rate(rate).min_write_rate(None);
/// assert!(timeouts.check().is_ok());
/// assert!(timeouts.min_read_rate(MinRate::new(0)).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    bytes_per_second: u64,
    window: Duration,
    grace: Duration,
}

/// The longest valid window, a week: a longer one is a mistake of units.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The highest valid rate, 1 GB/s: no client is asked for more.
const MAX_RATE: u64 = 1_000_000_000;

impl MinRate {
    /// Creates a rate measured in windows of 10 s, after a grace of 5 s.
    pub const fn new(bytes_per_second: u64) -> Self {
        MinRate {
            bytes_per_second,
            window: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }

    /// Sets the time over which the rate is measured. Default: 10 s.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the time for which the peer may start up before the first window begins. Default: 5 s; zero means no grace.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Returns the bytes that a window must move: at least one.
    pub(crate) fn bytes_per_window(&self) -> u64 {
        self.bytes_in(self.window)
    }

    /// Returns the bytes that must move in this time: at least one.
    pub(crate) fn bytes_in(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.bytes_per_second) * time.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn window_length(&self) -> Duration {
        self.window
    }

    pub(crate) fn grace_length(&self) -> Duration {
        self.grace
    }

    /// Returns the reason for which the rate is invalid, for [`Timeouts::check`](crate::Timeouts::check).
    pub(crate) fn problem(&self) -> Option<RateProblem> {
        if self.bytes_per_second == 0 {
            Some(RateProblem::Zero)
        } else if self.bytes_per_second > MAX_RATE {
            Some(RateProblem::TooFast(self.bytes_per_second))
        } else if self.window.is_zero() {
            Some(RateProblem::NoWindow)
        } else if self.window > MAX_TIME {
            Some(RateProblem::LongWindow(self.window))
        } else if self.grace > MAX_TIME {
            Some(RateProblem::LongGrace(self.grace))
        } else {
            None
        }
    }
}

/// The reason for which a [`MinRate`] is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateProblem {
    Zero,
    TooFast(u64),
    NoWindow,
    LongWindow(Duration),
    LongGrace(Duration),
}

impl fmt::Display for RateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateProblem::Zero => f.write_str(
                "is zero bytes per second, which requires nothing; `None` switches it off",
            ),
            RateProblem::TooFast(rate) => write!(f, "is {rate} bytes per second, more than 1 GB/s"),
            RateProblem::NoWindow => f.write_str("has a window of zero, in which nothing can move"),
            RateProblem::LongWindow(window) => {
                write!(f, "has a window of {window:?}, longer than a week")
            }
            RateProblem::LongGrace(grace) => {
                write!(f, "has a grace of {grace:?}, longer than a week")
            }
        }
    }
}
