//! Where connections come from.

mod accept;
mod listener;

pub use listener::Listener;

pub(crate) use accept::accept;
