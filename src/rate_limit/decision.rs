use std::time::Duration;

/// What a limiter said about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub admitted: bool,
    /// Until it would be admitted; zero if it was.
    pub wait: Duration,
    /// Index of the tightest quota.
    pub quota: usize,
    /// How many more would be admitted at once.
    pub remaining: u32,
    /// Until the tightest quota is full again.
    pub reset: Duration,
}
