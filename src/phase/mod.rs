//! The process's phase: one atomic word, and a notification when it changes.
//!
//! Every module reads this one phase to decide whether it may still take work. A [`Lifecycle`] is a cheap handle (an
//! `Arc`); clones share the process.
//!
//! | phase | readiness | accept | a new request on an open connection |
//! |---|---|---|---|
//! | [`Starting`](Phase::Starting) | 503 | yes | served |
//! | [`Ready`](Phase::Ready) | 200 | yes | served |
//! | [`LameDuck`](Phase::LameDuck) | 503 | yes | served, and asked more and more often to leave (`Connection: close`) |
//! | [`Draining`](Phase::Draining) | 503 | no | refused by the drain layer |
//! | [`Closed`](Phase::Closed) | - | no | - |
//!
//! A phase only ever moves forward.
//!
//! ```
//! use lameduck::{Lifecycle, Phase};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let lifecycle = Lifecycle::new();
//! assert_eq!(lifecycle.phase(), Phase::Starting);
//! assert!(lifecycle.advance(Phase::Ready));
//! assert!(!lifecycle.advance(Phase::Starting), "never back");
//!
//! let other = lifecycle.clone();
//! let waiting = tokio::spawn(async move { other.reached(Phase::Draining).await });
//! lifecycle.advance(Phase::Draining);
//! assert_eq!(waiting.await.unwrap(), Phase::Draining);
//! # }
//! ```

#[allow(clippy::disallowed_methods)] // a look for each phase
mod lifecycle;
#[cfg(all(test, lameduck_loom))]
mod loom_tests;

pub use lifecycle::Lifecycle;

use std::fmt;

/// A stage between the start and the end of a process. Ordered: a later phase is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Start-up work is not done: readiness is 503, but requests are served.
    Starting = 0,
    /// The process is in service.
    Ready = 1,
    /// The process still serves, but asks its clients to go elsewhere.
    LameDuck = 2,
    /// The process accepts no connections and finishes the requests in flight.
    Draining = 3,
    /// The process is at its end.
    Closed = 4,
}

impl Phase {
    /// Returns the name used in logs, metrics and health responses: `starting`, `ready`, `lame_duck`, `draining`,
    /// `closed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::LameDuck => "lame_duck",
            Phase::Draining => "draining",
            Phase::Closed => "closed",
        }
    }

    /// The inverse of `as u8`. A word is only ever written from a `Phase`, so no word is above `Closed`.
    const fn from_word(word: u8) -> Self {
        match word {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::LameDuck,
            3 => Phase::Draining,
            _ => Phase::Closed,
        }
    }
}

all!(Phase: [Starting, Ready, LameDuck, Draining, Closed]);

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
