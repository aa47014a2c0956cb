//! The two ends of a connection, and the client behind it.

mod address;
mod client;
#[cfg(feature = "axum")]
mod extract;
mod info;

pub use client::{ClientIp, ClientIpSource};
pub use info::ConnInfo;

pub(crate) use address::folded;
#[cfg(feature = "rate-limit")]
pub(crate) use info::client_of;
pub(crate) use info::{arrival_of, peer_and_arrival_of, peer_of};
