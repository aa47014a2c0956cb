use std::fmt;

use super::InvalidShutdown;

/// Why a shutdown could not be made ready, and with it the process not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The budgets do not fit.
    Budgets(InvalidShutdown),
    /// The system's signals could not be listened to.
    Signals(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Budgets(error) => error.fmt(f),
            StartError::Signals(error) => write!(f, "the signals cannot be listened to: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Budgets(_) => None,
            StartError::Signals(error) => Some(error),
        }
    }
}

impl From<InvalidShutdown> for StartError {
    fn from(error: InvalidShutdown) -> Self {
        StartError::Budgets(error)
    }
}
