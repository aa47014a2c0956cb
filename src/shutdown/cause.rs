use std::fmt;

/// The cause of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// SIGTERM: the orchestrator.
    Sigterm,
    /// SIGINT: from a person at a terminal, or from a platform whose stop signal it is.
    Sigint,
    /// SIGQUIT: from an image whose stop signal it is.
    Sigquit,
    /// SIGHUP, if it was set to begin the shutdown.
    Sighup,
    /// An essential worker ended before it was to stop.
    Worker,
    /// The future that drove the shutdown was dropped before its end.
    Dropped,
    /// A call of the [`ShutdownHandle`](super::ShutdownHandle), a future of
    /// [`shutdown_on`](super::Shutdown::shutdown_on), or a phase that was moved by hand.
    Called,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Sigterm => "SIGTERM",
            Cause::Sigint => "SIGINT",
            Cause::Sigquit => "SIGQUIT",
            Cause::Sighup => "SIGHUP",
            Cause::Worker => "an essential worker ended",
            Cause::Dropped => "its future was dropped",
            Cause::Called => "called from code",
        })
    }
}
