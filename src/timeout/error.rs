use std::fmt;

/// The error of a response body that did not end in time; see
/// [`TimeoutLayer::whole_response`](super::TimeoutLayer::whole_response).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutError {}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response did not end in time")
    }
}

impl std::error::Error for TimeoutError {}
