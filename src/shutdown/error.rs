use std::fmt;

use super::InvalidShutdown;

/// The reason why a shutdown could not start, and with it the process.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The budgets do not fit.
    Budgets(InvalidShutdown),
    /// The system's signal handlers could not be installed.
    Signals(std::io::Error),
    /// There is no tokio runtime, or one without timers.
    Runtime(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Budgets(error) => error.fmt(f),
            StartError::Signals(error) => write!(f, "the signals cannot be listened to: {error}"),
            StartError::Runtime(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Budgets(_) | StartError::Runtime(_) => None,
            StartError::Signals(error) => Some(error),
        }
    }
}

impl From<InvalidShutdown> for StartError {
    fn from(error: InvalidShutdown) -> Self {
        StartError::Budgets(error)
    }
}
