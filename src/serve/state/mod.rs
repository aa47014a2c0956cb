//! The state that connections share, and the view of each from outside its task.

mod conn;
mod departure;
mod known;
mod registry;
mod shared;

pub(crate) use conn::{Activity, Conn, InFlight};
pub(crate) use departure::{Goaway, goaway, goaway_wait, response_is_last};
pub(crate) use known::{Facts, Known};
pub(crate) use registry::{ConnGuard, Registry};
pub(crate) use shared::{OnConnection, Shared};
