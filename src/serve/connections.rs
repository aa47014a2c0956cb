use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::error::ServeError;
use crate::conn_info::ConnInfo;
use crate::events::{CloseReason, EventSink, Hub};
use crate::phase::{Lifecycle, Phase};
use crate::serve::config::{InvalidTimeout, Limits, Timeouts};
use crate::serve::connection::ConnTask;
use crate::serve::listen::Listener;
use crate::serve::service::App;
use crate::serve::state::{ConnGuard, Registry, Shared};
use crate::serve::transport::ServeIo;
use crate::shutdown::ShutdownHandle;

/// Serves one connection of an accept loop of your own.
///
/// The future is ready when the connection has ended, and returns the reason. Dropping it ends the connection. It takes
/// part in no drain; connections that do are served by [`Connections`].
///
/// # Errors
///
/// An invalid timeout ([`Timeouts::check`]).
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
    let connections = Connections::of(timeouts, Limits::default(), lifecycle, Arc::default());
    Ok(connections.serve(io, ConnInfo::default(), service))
}

/// The connections of an accept loop of your own.
///
/// They share timeouts, limits and, with [`follow`](Self::follow), the drain: it waits for them, and names the requests
/// that it cuts. `max_connections` and the accept queue stay the loop's own business.
///
/// ```no_run
/// use lameduck::serve::Connections;
/// use lameduck::{ConnInfo, Limits, Phase, Shutdown, Timeouts};
/// use tokio::net::TcpListener;
///
/// # async fn run(listener: TcpListener, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// let shutdown = Shutdown::new();
/// let handle = shutdown.handle();
/// let connections = Connections::new(Timeouts::default(), Limits::default())?.follow(&handle);
/// tokio::spawn(async move {
///     loop {
///         let (stream, peer) = tokio::select! {
///             accepted = listener.accept() => accepted?,
///             _ = handle.lifecycle().reached(Phase::Draining) => return std::io::Result::Ok(()),
///         };
///         let info = ConnInfo::new(Some(peer), stream.local_addr().ok());
///         tokio::spawn(connections.serve(stream, info, app.clone()));
///     }
/// });
/// let report = shutdown.run().await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
#[doc(alias("GracefulShutdown"))]
#[derive(Clone)]
pub struct Connections {
    registry: Arc<Registry>,
    hub: Arc<Hub>,
}

impl Connections {
    /// Creates connections that take part in no drain.
    ///
    /// # Errors
    ///
    /// An invalid timeout or limit.
    pub fn new(timeouts: Timeouts, limits: Limits) -> Result<Self, ServeError> {
        timeouts.check()?;
        limits.check()?;
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        Ok(Connections::of(timeouts, limits, lifecycle, Arc::default()))
    }

    fn of(timeouts: Timeouts, limits: Limits, lifecycle: Lifecycle, hub: Arc<Hub>) -> Self {
        let events = EventSink::to_hub(hub.clone());
        let shared = Shared::new(timeouts, limits, lifecycle, events);
        Connections {
            registry: Arc::new(Registry::new(shared)),
            hub,
        }
    }

    /// Takes part in this shutdown, and emits to its [hub](ShutdownHandle::listen). Connections that were served before
    /// do not.
    #[must_use]
    pub fn follow(self, handle: &ShutdownHandle) -> Self {
        let Shared {
            timeouts, limits, ..
        } = *self.registry.shared;
        handle.event_sink().add_to(&self.hub);
        let lifecycle = handle.lifecycle().clone();
        let connections = Connections::of(timeouts, limits, lifecycle, self.hub);
        handle.register(connections.registry.clone());
        connections
    }

    /// Adds a sink for the events of connections and requests.
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        events.add_to(&self.hub);
        self
    }

    /// Serves one connection, from the moment of this call. The future is ready when it has ended, and returns the
    /// reason; dropping it ends the connection.
    pub fn serve<T, A>(&self, io: T, info: ConnInfo, service: A) -> ServeConnection<T, A>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: App,
    {
        self.serve_with_reset(io, info, service, reset_tcp)
    }

    /// Serves one connection as [`serve`](Self::serve) does, over TCP but not over a `TcpStream` itself: `reset` makes
    /// its drop a reset, as [`Listener::reset`](super::Listener::reset) does. It is called before a connection is
    /// dropped whose response was cut short. Without it, a response that ends with its connection looks complete.
    /// `serve` knows how to reset a bare `TcpStream`.
    ///
    /// ```
    /// use lameduck::serve::{Connections, Listener};
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// struct Counted(TcpStream);
    ///
    /// fn reset(io: &Counted) {
    ///     <TcpListener as Listener>::reset(&io.0);
    /// }
    /// # let _ = (reset, Connections::serve_with_reset::<TcpStream, axum::Router>);
    /// ```
    pub fn serve_with_reset<T, A>(
        &self,
        io: T,
        info: ConnInfo,
        service: A,
        reset: fn(&T),
    ) -> ServeConnection<T, A>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: App,
    {
        let guard = ConnGuard::open(&self.registry, info, None);
        ServeConnection {
            task: ConnTask::new(ServeIo::new(io, reset, guard), service),
        }
    }
}

fn reset_tcp<T: 'static>(io: &T) {
    if let Some(stream) = (io as &dyn Any).downcast_ref::<TcpStream>() {
        <TcpListener as Listener>::reset(stream);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("timeouts", &self.registry.shared.timeouts)
            .field("limits", &self.registry.shared.limits)
            .finish_non_exhaustive()
    }
}

/// The future of one served connection; see [`serve_connection_with_timeouts`].
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
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.project().task.poll(cx)
    }
}

impl<T, A: App> fmt::Debug for ServeConnection<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeConnection").finish_non_exhaustive()
    }
}
