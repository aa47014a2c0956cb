use std::fmt;
use std::time::Duration;

/// A worker, a closer or a flush, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The kind of step.
    pub kind: StepKind,
    /// The given name.
    pub name: String,
    /// The duration from the order to the end.
    pub took: Duration,
    /// The end of the step.
    pub end: StepEnd,
}

impl Step {
    pub(super) fn new(kind: StepKind, name: String, took: Duration, end: StepEnd) -> Self {
        Step {
            kind,
            name,
            took,
            end,
        }
    }
}

/// The kind of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// A worker that was asked to stop.
    Worker,
    /// A closer.
    Closer,
    /// A flush.
    Flush,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepKind::Worker => "worker",
            StepKind::Closer => "closer",
            StepKind::Flush => "flush",
        })
    }
}

/// The end of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepEnd {
    /// It ended as it should.
    Done,
    /// It ended with this error.
    Failed(String),
    /// It panicked.
    Panicked,
    /// It had not ended when its time was up, and was aborted.
    TimedOut,
    /// It had not ended when an order to end at once came, and was aborted.
    CutShort,
    /// It was not begun, because of an order to end at once.
    Skipped,
}

impl fmt::Display for StepEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepEnd::Done => f.write_str("done"),
            StepEnd::Failed(error) => write!(f, "FAILED: {error}"),
            StepEnd::Panicked => f.write_str("PANICKED"),
            StepEnd::TimedOut => f.write_str("ABORTED, its time was up"),
            StepEnd::CutShort => f.write_str("ABORTED, it was to end at once"),
            StepEnd::Skipped => f.write_str("SKIPPED"),
        }
    }
}
