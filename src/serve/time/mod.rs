//! The clock of a server, and the one timer of a connection or a stream.

#[allow(clippy::disallowed_methods)] // this is the clock itself
mod clock;
mod timer;

pub(crate) use clock::{Clock, Tick};
pub(crate) use timer::Timer;
