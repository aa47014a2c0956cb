//! The kernel's share of what was written.

use std::any::Any;

use tokio::net::TcpStream;

/// Returns the number of bytes written to `io` that its peer has not acknowledged; `None` if the kernel cannot be
/// asked.
///
/// A full socket reports room only when half of what it may hold has been sent (64 KiB of `TCP_NOTSENT_LOWAT`). A
/// reader of a few hundred bytes a second needs minutes for that, and meanwhile looks like one that takes nothing. The
/// kernel knows better.
pub(crate) fn held_by_kernel<T: Any>(io: &T) -> Option<u64> {
    let io: &dyn Any = io;
    if let Some(socket) = io.downcast_ref::<TcpStream>() {
        return outq(socket);
    }
    #[cfg(unix)]
    if let Some(socket) = io.downcast_ref::<tokio::net::UnixStream>() {
        return outq(socket);
    }
    None
}

/// Reads `SIOCOUTQ` (tcp(7), unix(7)).
///
/// The one unsafe call of this crate. No safe interface gives this number, and without it a client that reads 300 bytes
/// a second of a large response is cut at `write_stall` (`target/release/steady_clients` in benches/ shows it).
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn outq(socket: &impl std::os::fd::AsRawFd) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, for `socket` owns it, and TIOCOUTQ (the same number as SIOCOUTQ) writes one
    // `int` to where the third argument points.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    u64::try_from(bytes).ok().filter(|_| done == 0)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn outq<S>(_: &S) -> Option<u64> {
    None
}
