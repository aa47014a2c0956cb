//! Transports between hyper and the socket: what the bytes show of the connection, and what is written beside hyper.

mod held;
mod http2;
mod io;
mod linger;
mod poll;
mod probe;
mod unread;
mod watch;

pub use io::ServeIo;

pub(crate) use held::held_by_kernel;
pub(crate) use io::Mode;
pub(crate) use unread::may_be_unread;
