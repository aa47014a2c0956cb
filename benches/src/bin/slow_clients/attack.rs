//! The ways to be slow, and the deadline that ends each.

use std::{fmt, time::Duration};

use crate::MARGIN;

pub struct Deadlines {
    pub read_header: Duration,
    pub read: Duration,
    pub write: Duration,
    pub idle: Duration,
    /// The stall deadline of a connection; a server of these measurements has the default.
    pub write_stall: Duration,
    /// The pause of an attacker between two bytes or lines.
    pub drip: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Connects and says nothing.
    Silence,
    /// Sends a header line now and then.
    SlowHeaders,
    /// Sends a body byte by byte.
    SlowBody,
    /// Asks for much and hardly reads.
    SlowRead,
    /// Makes one request and then keeps the connection.
    Idle,
}

impl Attack {
    pub const ALL: [Attack; 5] = [
        Attack::Silence,
        Attack::SlowHeaders,
        Attack::SlowBody,
        Attack::SlowRead,
        Attack::Idle,
    ];

    /// Returns the deadline that must end it, counted from the moment the connection was opened.
    pub fn deadline(self, deadlines: &Deadlines) -> Duration {
        match self {
            Attack::Silence | Attack::SlowHeaders => deadlines.read_header,
            Attack::SlowBody => deadlines.read,
            Attack::SlowRead => deadlines.write,
            Attack::Idle => deadlines.idle,
        }
    }

    pub fn limit(self, deadlines: &Deadlines) -> Duration {
        self.deadline(deadlines) + MARGIN
    }

    pub fn has_tool(&self) -> bool {
        matches!(
            self,
            Attack::SlowHeaders | Attack::SlowBody | Attack::SlowRead
        )
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Attack::Silence => "silence",
            Attack::SlowHeaders => "slow headers",
            Attack::SlowBody => "slow body",
            Attack::SlowRead => "slow reading",
            Attack::Idle => "idle keep-alive",
        })
    }
}
