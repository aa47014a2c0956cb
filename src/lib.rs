//! lib
#![forbid(unsafe_code)]

mod conn_info;
pub mod drain;
pub mod events;
pub mod in_flight;
pub mod phase;
pub mod reply;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "serve")]
pub mod shutdown;
pub mod track;

pub use conn_info::ConnInfo;
pub use drain::DrainLayer;
pub use in_flight::InFlightLayer;
pub use phase::{Lifecycle, Phase};
#[cfg(feature = "serve")]
pub use serve::{Limits, Timeouts, serve, serve_connection_with_timeouts, serve_with_timeouts};
#[cfg(feature = "serve")]
pub use shutdown::{Report, Shutdown};
