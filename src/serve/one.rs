use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::app::App;
use super::conn::ConnGuard;
use super::io::ServeIo;
use super::limits::Limits;
use super::server::Server;
use super::task::ConnTask;
use super::timeouts::{InvalidTimeout, Timeouts};
use crate::conn_info::ConnInfo;
use crate::events::{Closed, Events};
use crate::phase::{Lifecycle, Phase};

/// Serves one connection of an accept loop of your own.
///
/// The future is ready when the connection has ended, and says why. Dropping it ends the connection.
/// It has no part in a drain of its own; to tell it, use [`serve`](super::serve()) with a
/// [`Listener`](super::Listener) of yours.
///
/// # Errors
///
/// A timeout that cannot be meant ([`Timeouts::check`]).
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use lameduck::serve::{RequestBody, serve_connection_with_timeouts};
/// use lameduck::Timeouts;
/// use std::convert::Infallible;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let service = tower::service_fn(|_: Request<RequestBody>| async {
///     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
/// });
/// let (mut client, io) = tokio::io::duplex(1024);
/// let connection = serve_connection_with_timeouts(io, service, Timeouts::default()).unwrap();
/// tokio::spawn(connection);
///
/// client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await.unwrap();
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
/// assert!(answer.ends_with("hello"));
/// # }
/// ```
pub fn serve_connection_with_timeouts<T, A>(
    io: T,
    service: A,
    timeouts: Timeouts,
) -> Result<ServeConnection<T, A>, InvalidTimeout>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    timeouts.check()?;
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let server = Server::new(timeouts, Limits::default(), lifecycle, Events::none());
    let guard = ConnGuard::open(&Arc::new(server), ConnInfo::default(), None);
    Ok(ServeConnection {
        task: ConnTask::new(ServeIo::new(io, |_| {}, guard), service),
    })
}

/// One served connection; see [`serve_connection_with_timeouts`].
#[pin_project]
#[must_use = "a connection is not served until it is awaited"]
pub struct ServeConnection<T, A: App> {
    #[pin]
    task: ConnTask<T, A>,
}

impl<T, A> Future for ServeConnection<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        self.project().task.poll(cx)
    }
}

impl<T, A: App> fmt::Debug for ServeConnection<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeConnection").finish_non_exhaustive()
    }
}
