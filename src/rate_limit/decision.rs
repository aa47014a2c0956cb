use std::time::Duration;

/// The decision on one request, made here or in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// `true` if the request may pass.
    pub admitted: bool,
    /// The time until the request may be repeated; zero if it is admitted.
    pub wait: Duration,
    /// The index of the quota that is nearest to exhaustion, or that the client must wait for.
    pub quota: usize,
    /// The number of further requests that this quota admits now; 0 if the request is refused.
    pub remaining: u32,
    /// The time until this quota is full again.
    pub reset: Duration,
}

/// A decision, and whether there was no room for a new key.
pub(super) struct Outcome {
    pub decision: Decision,
    pub full: bool,
}

impl Outcome {
    pub(crate) fn no_room(wait: Duration) -> Self {
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
