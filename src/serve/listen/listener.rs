use std::future::Future;
use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::conn_info::ConnInfo;
use crate::serve::config::Limits;

/// A source of connections: a TCP or Unix socket, or a listener of your own.
///
/// Work that takes time for one connection (a TLS handshake) belongs into the connection, not into
/// [`accept`](Self::accept).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no listener",
    note = "bind a `tokio::net::TcpListener`, or use `Server::serve`, which takes an address"
)]
pub trait Listener: Send + 'static {
    /// The transport of a connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Sets the options that accepted sockets inherit, once before the first connection is accepted. Returns `true` if
    /// there are no others to set. Default: sets nothing and returns `false`.
    ///
    /// A listener around another one passes this call and [`configure`](Self::configure) on.
    fn prepare(&mut self, limits: &Limits) -> bool {
        let _ = limits;
        false
    }

    /// Sets the options of a connection before it is served, if its socket may not have inherited all: always where
    /// [`prepare`](Self::prepare) returned `false`, otherwise for connections that the system may have accepted before
    /// that. Default: sets nothing.
    fn configure(io: &Self::Io, limits: &Limits) {
        let _ = (io, limits);
    }

    /// Waits for a connection. Must be cancel safe: dropped before it is ready, no connection is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, ConnInfo)>> + Send;

    /// Returns a connection that the system has accepted already, without waiting. Called until there is none: when the
    /// drain begins, because a socket that is closed with connections in its queue resets them, and after a
    /// [`prepare`](Self::prepare) that returned `true`. Default: returns none.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    fn accept_queued(&mut self) -> io::Result<Option<(Self::Io, ConnInfo)>> {
        Ok(None)
    }

    /// Makes the drop of a connection show the peer that it was cut short, rather than ended. Default: does nothing.
    fn reset(_: &Self::Io) {}
}

/// The unsent part of a response that the kernel holds at most before it reports no more room.
///
/// Without a bound it takes megabytes: a slow reader then costs that much memory each, and the `write` deadlines
/// measure the kernel's buffer instead of the peer. With it the kernel asks for more when less than this has not been
/// sent; throughput does not suffer, since bytes under way do not count.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT_LOWAT: u32 = 128 * 1024;

impl Listener for TcpListener {
    type Io = TcpStream;

    /// Sets all options: on Linux accepted sockets inherit them, which saves some system calls each.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn prepare(&mut self, limits: &Limits) -> bool {
        set_options(&SockRef::from(&*self), limits);
        true
    }

    fn configure(stream: &TcpStream, limits: &Limits) {
        set_options(&SockRef::from(stream), limits);
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, ConnInfo)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok(set_up(stream, peer))
    }

    fn accept_queued(&mut self) -> io::Result<Option<(TcpStream, ConnInfo)>> {
        // Past tokio, whose accept relies on its last notice of readiness, and may report an empty queue that it has
        // not looked into.
        let Some((socket, peer)) = queued(SockRef::from(&*self).accept())? else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        let stream = TcpStream::from_std(socket.into())?;
        let peer = match peer.as_socket() {
            Some(peer) => peer,
            None => stream.peer_addr()?,
        };
        Ok(Some(set_up(stream, peer)))
    }

    fn reset(stream: &TcpStream) {
        // Best effort: the connection is being dropped either way.
        let _ = stream.set_zero_linger();
    }
}

/// Sets the socket's options. Best effort: without them a connection is only slower, or notices later that its peer has
/// vanished.
fn set_options(socket: &SockRef<'_>, limits: &Limits) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT);
        let _ = socket.set_tcp_user_timeout(limits.tcp_user_timeout);
    }
    let _ = socket.set_tcp_nodelay(true);
    let _ = limits.tcp_keepalive.set_on(socket);
}

fn set_up(stream: TcpStream, peer: SocketAddr) -> (TcpStream, ConnInfo) {
    // Best effort: a connection serves as well without its own address.
    let info = ConnInfo::new(Some(peer), stream.local_addr().ok());
    (stream, info)
}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, ConnInfo)> {
        let (stream, _) = tokio::net::UnixListener::accept(self).await?;
        Ok((stream, ConnInfo::default()))
    }

    fn accept_queued(&mut self) -> io::Result<Option<(Self::Io, ConnInfo)>> {
        let Some((socket, _)) = queued(SockRef::from(&*self).accept())? else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(socket.into())?;
        Ok(Some((stream, ConnInfo::default())))
    }
}

/// Returns `None` for an empty queue.
fn queued<C>(accepted: io::Result<C>) -> io::Result<Option<C>> {
    match accepted {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
