use std::fmt;
use std::io;

use crate::serve::ServeError;
use crate::shutdown::StartError;

/// The error returned when a [`Server`](super::Server) does not start.
///
/// `Debug` is the same as `Display`, because it is what a `main` that returns the error prints.
#[non_exhaustive]
pub enum ServerError {
    /// A setting is invalid; the text names it.
    Setting(String),
    /// An address could not be bound.
    Bind {
        /// The address.
        address: String,
        /// The system's error.
        error: io::Error,
    },
    /// There is no tokio runtime, or one without timers or without I/O.
    Runtime(&'static str),
    /// The timeouts, the limits or the shutdown.
    Serve(ServeError),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Setting(problem) => f.write_str(problem),
            ServerError::Bind { address, error } => {
                write!(f, "cannot listen on {address}: {error}")
            }
            ServerError::Runtime(problem) => f.write_str(problem),
            ServerError::Serve(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServerError::Setting(_) | ServerError::Runtime(_) => None,
            ServerError::Bind { error, .. } => Some(error),
            ServerError::Serve(error) => error.source(),
        }
    }
}

impl From<ServeError> for ServerError {
    fn from(error: ServeError) -> Self {
        ServerError::Serve(error)
    }
}

impl From<StartError> for ServerError {
    fn from(error: StartError) -> Self {
        ServerError::Serve(error.into())
    }
}
