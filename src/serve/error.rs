use std::fmt;

use super::limits::InvalidLimit;
use super::timeouts::InvalidTimeout;
use crate::shutdown::InvalidShutdown;

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// A timeout that cannot be meant.
    Timeout(InvalidTimeout),
    /// A limit that cannot be meant.
    Limit(InvalidLimit),
    /// A shutdown that does not fit its budgets.
    Shutdown(InvalidShutdown),
    /// The system's signals could not be listened to.
    Signals(std::io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Timeout(error) => error.fmt(f),
            ServeError::Limit(error) => error.fmt(f),
            ServeError::Shutdown(error) => error.fmt(f),
            ServeError::Signals(error) => write!(f, "the signals cannot be listened to: {error}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Signals(error) => Some(error),
            _ => None,
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

impl From<InvalidShutdown> for ServeError {
    fn from(error: InvalidShutdown) -> Self {
        ServeError::Shutdown(error)
    }
}
