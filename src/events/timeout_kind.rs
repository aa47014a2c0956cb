use std::fmt;

/// A deadline. The variants are named after the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// `read_header`
    ReadHeader,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `idle`
    Idle,
    /// `read_stall`
    ReadStall,
    /// `write_stall`
    WriteStall,
    /// `response_head`
    ResponseHead,
    /// `min_read_rate`
    MinReadRate,
    /// `min_write_rate`
    MinWriteRate,
}

impl TimeoutKind {
    /// Returns the name of the setting.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimeoutKind::ReadHeader => "read_header",
            TimeoutKind::Read => "read",
            TimeoutKind::Write => "write",
            TimeoutKind::Idle => "idle",
            TimeoutKind::ReadStall => "read_stall",
            TimeoutKind::WriteStall => "write_stall",
            TimeoutKind::ResponseHead => "response_head",
            TimeoutKind::MinReadRate => "min_read_rate",
            TimeoutKind::MinWriteRate => "min_write_rate",
        }
    }

    /// Returns `true` if the deadline ends the response rather than the request body.
    #[cfg(feature = "serve")]
    pub(crate) const fn ends_response(self) -> bool {
        matches!(
            self,
            TimeoutKind::Write
                | TimeoutKind::WriteStall
                | TimeoutKind::ResponseHead
                | TimeoutKind::MinWriteRate
        )
    }
}

all!(TimeoutKind: [
    ReadHeader, Read, Write, Idle, ReadStall, WriteStall, ResponseHead, MinReadRate, MinWriteRate,
]);

impl fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
