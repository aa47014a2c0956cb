use std::fmt;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// A request's head is arriving.
    Head,
    /// A handler has its request.
    Handler,
    /// The response is being sent.
    Responding,
    /// The response is out; what nobody read of the request is being read away.
    Discarding,
    /// The answer was early and the last one: the peer is given time to read it.
    Lingering,
    /// It is a websocket or a tunnel now.
    Upgraded,
    /// It waits for a request.
    Idle,
}

impl ConnectionState {
    /// All of them.
    pub const ALL: [ConnectionState; 7] = [
        ConnectionState::Head,
        ConnectionState::Handler,
        ConnectionState::Responding,
        ConnectionState::Discarding,
        ConnectionState::Lingering,
        ConnectionState::Upgraded,
        ConnectionState::Idle,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectionState::Head => "head",
            ConnectionState::Handler => "handler",
            ConnectionState::Responding => "responding",
            ConnectionState::Discarding => "discarding",
            ConnectionState::Lingering => "lingering",
            ConnectionState::Upgraded => "upgraded",
            ConnectionState::Idle => "idle",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many connections do what, at one moment; by
/// [`Handle::connections`](super::Handle::connections).
///
/// An HTTP/2 connection counts once: by the first of [`ConnectionState::ALL`] that one of its streams
/// is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    counts: [usize; ConnectionState::ALL.len()],
}

impl ConnectionCounts {
    pub(crate) fn add(&mut self, state: ConnectionState) {
        self.counts[state as usize] += 1;
    }

    /// How many are in this state.
    pub fn of(&self, state: ConnectionState) -> usize {
        self.counts[state as usize]
    }

    /// Every state with its count.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionState, usize)> {
        let counts = *self;
        ConnectionState::ALL
            .into_iter()
            .map(move |state| (state, counts.of(state)))
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}
