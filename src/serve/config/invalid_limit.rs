use std::fmt;

/// The error of an invalid limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLimit {
    name: &'static str,
    problem: &'static str,
}

impl InvalidLimit {
    pub(crate) fn new(name: &'static str, problem: &'static str) -> Self {
        InvalidLimit { name, problem }
    }

    /// Returns the setting's name, as in `max_connections`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit `{}`: {}", self.name, self.problem)
    }
}

impl std::error::Error for InvalidLimit {}
