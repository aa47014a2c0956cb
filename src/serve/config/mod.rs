//! The configuration of a server: its deadlines and limits.

pub(crate) mod fixed;
mod half_close;
mod http2_limits;
mod invalid_limit;
mod keepalive;
mod limits;
mod protocols;
mod timeouts;

pub use half_close::HalfClose;
pub use http2_limits::Http2Limits;
pub use invalid_limit::InvalidLimit;
pub use keepalive::Keepalive;
pub use limits::Limits;
pub use protocols::Protocols;
pub use timeouts::{InvalidTimeout, Timeouts};
