//! The two ends of a connection, and the client behind it.

mod address;
mod client;
#[cfg(feature = "axum")]
mod extract;
mod info;

pub use client::{ClientIp, ClientIpSource};
pub use info::ConnInfo;

pub(crate) use address::folded;
#[cfg(any(feature = "metrics", feature = "rate-limit", feature = "tracing"))]
pub(crate) use info::arrival_of;
#[cfg(feature = "rate-limit")]
pub(crate) use info::client_of;
pub(crate) use info::{peer_and_arrival_of, peer_of};
