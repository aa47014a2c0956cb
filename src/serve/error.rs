use std::fmt;

use crate::serve::config::{InvalidLimit, InvalidTimeout};
use crate::shutdown::StartError;

/// The reason why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// An invalid timeout.
    Timeout(InvalidTimeout),
    /// An invalid limit.
    Limit(InvalidLimit),
    /// There is no tokio runtime, or one without timers, or without the I/O that a listener of tokio needs.
    Runtime(&'static str),
    /// An error of the shutdown that it drives: of its budgets, or its signals.
    Shutdown(StartError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Timeout(error) => error.fmt(f),
            ServeError::Limit(error) => error.fmt(f),
            ServeError::Runtime(problem) => f.write_str(problem),
            ServeError::Shutdown(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Timeout(_) | ServeError::Limit(_) | ServeError::Runtime(_) => None,
            ServeError::Shutdown(error) => error.source(),
        }
    }
}

impl From<InvalidTimeout> for ServeError {
    fn from(error: InvalidTimeout) -> Self {
        ServeError::Timeout(error)
    }
}

impl From<InvalidLimit> for ServeError {
    fn from(error: InvalidLimit) -> Self {
        ServeError::Limit(error)
    }
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        ServeError::Shutdown(error)
    }
}
