//! The moment at which a connection is asked to leave: by the process's phase, and spread over the lame duck.

use std::time::Duration;

use super::conn::Conn;
use crate::phase::{Lifecycle, Phase};

/// The answer to the question of an HTTP/2 connection whether it is asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goaway {
    NotYet,
    /// After the [wait](goaway_wait).
    Soon,
    Now,
}

/// Returns `true` if an HTTP/1 response made now asks its connection to leave: in the lame duck more and more of them,
/// in the drain all.
pub(crate) fn response_is_last(lifecycle: &Lifecycle, conn: &Conn) -> bool {
    match lifecycle.phase() {
        Phase::Starting | Phase::Ready => false,
        Phase::LameDuck => conn.random_unit() < lifecycle.departure(),
        Phase::Draining | Phase::Closed => true,
    }
}

/// Returns whether an HTTP/2 connection is asked to leave.
pub(crate) fn goaway(lifecycle: &Lifecycle) -> Goaway {
    match lifecycle.phase() {
        Phase::Starting | Phase::Ready => Goaway::NotYet,
        Phase::LameDuck => Goaway::Soon,
        Phase::Draining | Phase::Closed => Goaway::Now,
    }
}

/// Returns the time to a random moment in the third quarter of the lame duck, as seen from its start: clients with many
/// connections do not lose them all at once, and have left before the drain begins.
pub(crate) fn goaway_wait(lifecycle: &Lifecycle, conn: &Conn) -> Duration {
    let half = lifecycle.lame_duck_left() / 2;
    half + half.mul_f64(conn.random_unit() * 0.5)
}
