//! The process's phase: one atomic word, and a notification when it moves.
//!
//! Every room asks the same question, "may I still take work?", and this room holds the one answer.
//! A [`Lifecycle`] is a cheap handle (an `Arc`); clones see the same process.
//!
//! | phase | readiness | accept | a new request on an open connection |
//! |---|---|---|---|
//! | [`Starting`](Phase::Starting) | 503 | yes | served |
//! | [`Ready`](Phase::Ready) | 200 | yes | served |
//! | [`LameDuck`](Phase::LameDuck) | 503 | yes | served, and told more and more often to leave (`Connection: close`) |
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

mod lifecycle;
#[cfg(all(test, lameduck_loom))]
mod loom_tests;

pub use lifecycle::Lifecycle;

use std::fmt;

/// Where a process stands between its start and its end. Ordered: a later phase is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Start-up work is not done; readiness says 503, requests that come anyway are served.
    Starting = 0,
    /// In service.
    Ready = 1,
    /// Still serving, and asking everyone to go elsewhere.
    LameDuck = 2,
    /// Not accepting any more; what is in flight is finished.
    Draining = 3,
    /// Over.
    Closed = 4,
}

impl Phase {
    /// The phase's name as logs, metrics and health answers spell it: `starting`, `ready`,
    /// `lame_duck`, `draining`, `closed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::LameDuck => "lame_duck",
            Phase::Draining => "draining",
            Phase::Closed => "closed",
        }
    }

    /// The inverse of `as u8`; a word is only ever written from a `Phase`, so nothing is above `Closed`.
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
