//! Listeners and the accept loop.

mod accept;
mod listener;

pub use listener::Listener;

pub(crate) use accept::accept;
