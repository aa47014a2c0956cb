//! The frames of HTTP/2 that hyper does not show, and those that it does not write.

mod close;
mod inbound;
mod interim;
mod notice;
mod wire;

pub(crate) use wire::Wire;
