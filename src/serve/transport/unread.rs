//! Input that lies in the kernel and that tokio has not noticed yet.

use std::any::Any;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Returns `true` if there may be input from `io`: bytes, its end, or an error. `false` only for a socket that was
/// asked.
///
/// tokio relies on its last notice of readiness, which may be old if the runtime's threads, or the whole process, stood
/// still.
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
