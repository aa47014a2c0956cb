use std::fmt;

/// The end of a response, in the vocabulary shared by the access log, the metrics and the report.
///
/// A [`TrackedBody`](super::TrackedBody) by itself sees [`Complete`](Self::Complete), [`Error`](Self::Error) and
/// [`Cancelled`](Self::Cancelled). [`serve`](mod@crate::serve) knows why it dropped a handler or a body, and the
/// crate's layers ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyEnd {
    /// The response was sent to its end, trailers included; or it had nothing to send.
    Complete,
    /// The service failed, or the body yielded an error.
    Error,
    /// The response was dropped before its end for an unknown reason: by a layer further out, or by a server other than
    /// this crate's, on which the client may have left or a deadline may have passed.
    Cancelled,
    /// The client left: it closed or reset its connection, or reset its stream.
    ClientGone,
    /// A deadline passed: `response_head`, `write`, a stall or a minimum rate of the server, or the body's deadline of
    /// [`TimeoutLayer`](crate::TimeoutLayer).
    Timeout,
    /// The response was cut at the end of the drain.
    Cut,
    /// The service or the body panicked.
    Panic,
}

impl BodyEnd {
    /// Returns the name used in logs and metrics, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            BodyEnd::Complete => "complete",
            BodyEnd::Error => "error",
            BodyEnd::Cancelled => "cancelled",
            BodyEnd::ClientGone => "client_gone",
            BodyEnd::Timeout => "timeout",
            BodyEnd::Cut => "cut",
            BodyEnd::Panic => "panic",
        }
    }
}

all!(BodyEnd: [Complete, Error, Cancelled, ClientGone, Timeout, Cut, Panic]);

impl fmt::Display for BodyEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
