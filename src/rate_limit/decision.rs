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

/// What was decided, and whether there was no room for a new key.
pub(super) struct Outcome {
    pub decision: Decision,
    pub full: bool,
}

impl Outcome {
    pub fn no_room(wait: Duration) -> Self {
        Outcome {
            decision: Decision {
                admitted: false,
                wait,
                quota: 0,
                remaining: 0,
                reset: wait,
            },
            full: true,
        }
    }
}
