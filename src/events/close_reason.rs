use super::timeout_kind::TimeoutKind;

/// The reason for which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The connection ended as HTTP intends: closed by the peer, by `Connection: close` or by GOAWAY.
    Ended,
    /// A deadline passed.
    Timeout(TimeoutKind),
    /// The peer broke the protocol, or the transport failed.
    Error,
    /// The client left before it had the response to its HTTP/1 request.
    ClientGone,
    /// The connection was idle when the drain closed idle connections.
    Drained,
    /// The connection was cut at the end of the drain.
    Cut,
    /// The service panicked (HTTP/1 only: on HTTP/2 a panic ends just its stream).
    Panicked,
}

impl CloseReason {
    /// Returns the name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::Ended => "ended",
            CloseReason::Timeout(kind) => kind.as_str(),
            CloseReason::Error => "error",
            CloseReason::ClientGone => "client_gone",
            CloseReason::Drained => "drained",
            CloseReason::Cut => "cut",
            CloseReason::Panicked => "panicked",
        }
    }

    /// All values: the six that are not deadlines, then the deadlines.
    pub const ALL: &'static [CloseReason] = &{
        let mut all = [CloseReason::Ended; 6 + TimeoutKind::ALL.len()];
        all[1] = CloseReason::Error;
        all[2] = CloseReason::Drained;
        all[3] = CloseReason::Cut;
        all[4] = CloseReason::ClientGone;
        all[5] = CloseReason::Panicked;
        let mut at = 0;
        while at < TimeoutKind::ALL.len() {
            all[6 + at] = CloseReason::Timeout(TimeoutKind::ALL[at]);
            at += 1;
        }
        all
    };

    /// Returns the index in [`ALL`](Self::ALL).
    #[cfg(any(test, feature = "metrics"))]
    pub(crate) const fn place(self) -> usize {
        match self {
            CloseReason::Ended => 0,
            CloseReason::Error => 1,
            CloseReason::Drained => 2,
            CloseReason::Cut => 3,
            CloseReason::ClientGone => 4,
            CloseReason::Panicked => 5,
            CloseReason::Timeout(kind) => 6 + kind as usize,
        }
    }
}
