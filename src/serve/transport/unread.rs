//! What lies in the kernel and tokio has not noticed yet.

use std::any::Any;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Whether there may be something to read from `io`: bytes, its end, or an error. `false` only for a socket
/// that was asked.
///
/// tokio goes by its last notice of readiness, which may be old where the runtime's threads, or the whole
/// process, stood still.
pub(crate) fn may_be_unread<T: Any>(io: &T) -> bool {
    let io: &dyn Any = io;
    if let Some(socket) = io.downcast_ref::<TcpStream>() {
        return !is_empty(&SockRef::from(socket));
    }
    #[cfg(unix)]
    if let Some(socket) = io.downcast_ref::<tokio::net::UnixStream>() {
        return !is_empty(&SockRef::from(socket));
    }
    true
}

fn is_empty(socket: &SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
