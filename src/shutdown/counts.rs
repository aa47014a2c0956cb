use std::fmt;

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// A request's head is arriving.
    Head,
    /// A handler has its request.
    Handler,
    /// The response is being sent.
    Responding,
    /// The response is sent; the unread rest of the request is being discarded.
    Discarding,
    /// The response was early and the last one: the peer is given time to read it.
    Lingering,
    /// The connection is a websocket or a tunnel now.
    Upgraded,
    /// The connection waits for a request.
    Idle,
}

impl ConnectionState {
    /// All states.
    pub const ALL: [ConnectionState; 7] = [
        ConnectionState::Head,
        ConnectionState::Handler,
        ConnectionState::Responding,
        ConnectionState::Discarding,
        ConnectionState::Lingering,
        ConnectionState::Upgraded,
        ConnectionState::Idle,
    ];

    /// Returns the name in metrics.
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

/// The number of connections in each state, at one moment; see [`ShutdownHandle::connections`](super::ShutdownHandle::connections).
///
/// An HTTP/2 connection counts once: by the first of [`ConnectionState::ALL`] that one of its streams is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    counts: [usize; ConnectionState::ALL.len()],
}

impl ConnectionCounts {
    pub(crate) fn add(&mut self, state: ConnectionState) {
        self.counts[state as usize] += 1;
    }

    /// Returns the number of connections in this state.
    pub fn of(&self, state: ConnectionState) -> usize {
        self.counts[state as usize]
    }

    /// Returns every state with its count.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionState, usize)> {
        let counts = *self;
        ConnectionState::ALL
            .into_iter()
            .map(move |state| (state, counts.of(state)))
    }

    /// Returns the number of all connections.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}
