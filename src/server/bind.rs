use std::future::{Future, ready};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::ServerError;
use crate::runtime;
use crate::serve::Listener;

/// An address to listen on, or a listener that stands already: text with a host and a port (`"0.0.0.0:8080"`,
/// `"localhost:8080"`, `"[::]:8080"`), a `SocketAddr`, or a `TcpListener` of tokio or of the standard library.
#[derive(Debug)]
pub struct Bind(Where);

#[derive(Debug)]
enum Where {
    Named(String),
    Address(SocketAddr),
    Std(std::net::TcpListener),
    Tokio(TcpListener),
}

impl Bind {
    /// Returns the port, if it is known.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.0 {
            Where::Named(name) => name.rsplit_once(':')?.1.parse().ok(),
            Where::Address(address) => Some(address.port()),
            Where::Std(_) | Where::Tokio(_) => None,
        }
    }

    /// Returns the error of a text that is no address; the system's own names neither the setting nor the form.
    fn check(&self) -> Result<(), ServerError> {
        let Where::Named(name) = &self.0 else {
            return Ok(());
        };
        let port = match name.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => return Ok(()),
            Some((_, port)) => port,
            None => name,
        };
        let port = port.parse().unwrap_or(8080_u16);
        Err(ServerError::Setting(format!(
            "cannot listen on {name:?}: an address has a host and a port, as in \"127.0.0.1:{port}\", \
             \"0.0.0.0:{port}\" (all of IPv4) or \"[::]:{port}\" (all)"
        )))
    }

    pub(super) async fn bind(self) -> Result<TcpListener, ServerError> {
        self.check()?;
        let address = match &self.0 {
            Where::Named(name) => name.clone(),
            Where::Address(address) => address.to_string(),
            Where::Std(_) | Where::Tokio(_) => "the listener that was given".to_owned(),
        };
        let bound = match self.0 {
            Where::Named(name) => TcpListener::bind(name).await,
            Where::Address(address) => TcpListener::bind(address).await,
            Where::Std(listener) => listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener)),
            Where::Tokio(listener) => Ok(listener),
        };
        bound.map_err(|error| ServerError::Bind { address, error })
    }
}

impl From<&str> for Bind {
    fn from(name: &str) -> Self {
        Bind(Where::Named(name.to_owned()))
    }
}

impl From<String> for Bind {
    fn from(name: String) -> Self {
        Bind(Where::Named(name))
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Bind(Where::Address(address))
    }
}

impl From<std::net::TcpListener> for Bind {
    fn from(listener: std::net::TcpListener) -> Self {
        Bind(Where::Std(listener))
    }
}

impl From<TcpListener> for Bind {
    fn from(listener: TcpListener) -> Self {
        Bind(Where::Tokio(listener))
    }
}

/// The address or [`Listener`] on which [`Server::serve`](super::Server::serve) accepts connections.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no address and no listener",
    note = "pass an address as text (\"0.0.0.0:8080\") or as a `SocketAddr`, or a `TcpListener` or `UnixListener`"
)]
pub trait IntoListener: Send + 'static {
    /// The listener.
    type Listener: Listener;

    /// Binds the address, if it is one.
    fn into_listener(self) -> impl Future<Output = Result<Self::Listener, ServerError>> + Send;
}

macro_rules! binds {
    ($($from:ty),*) => {$(
        impl IntoListener for $from {
            type Listener = TcpListener;

            fn into_listener(self) -> impl Future<Output = Result<TcpListener, ServerError>> + Send {
                Bind::from(self).bind()
            }

        }
    )*};
}

binds!(&'static str, String, SocketAddr, std::net::TcpListener);

impl<L: Listener> IntoListener for L {
    type Listener = L;

    fn into_listener(self) -> impl Future<Output = Result<L, ServerError>> + Send {
        ready(Ok(self))
    }
}

/// Checks that there is a runtime with timers and I/O.
pub(super) fn check_runtime() -> Result<(), ServerError> {
    runtime::check_timers()
        .and_then(|()| runtime::check_io())
        .map_err(ServerError::Runtime)
}
