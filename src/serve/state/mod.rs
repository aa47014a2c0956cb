//! What connections share, and what is known of each from outside of its task.

mod conn;
mod known;
mod registry;
mod shared;

pub(crate) use conn::{Activity, Conn, InFlight};
pub(crate) use known::{Facts, Known};
pub(crate) use registry::{ConnGuard, Registry};
pub(crate) use shared::{OnConnection, Shared};
