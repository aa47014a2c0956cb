use std::time::Duration;

/// What was decided for one request, here or in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Whether the request may pass.
    pub admitted: bool,
    /// How long until it may come again; zero if admitted.
    pub wait: Duration,
    /// The index of the quota that is nearest to its end, or that is waited for.
    pub quota: usize,
    /// How many more requests that quota has now; 0 if refused.
    pub remaining: u32,
    /// How long until that quota is full again.
    pub reset: Duration,
}
