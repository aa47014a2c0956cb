use http::{HeaderMap, HeaderName};

/// The status code of a gRPC call: 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u8);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Code {
    const NAMES: [&'static str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    #[cfg(feature = "metrics")]
    pub(crate) const COUNT: usize = Self::NAMES.len();

    pub(crate) const UNKNOWN: Code = Code(2);
    #[cfg(feature = "tracing")]
    pub(crate) const UNIMPLEMENTED: Code = Code(12);

    /// Reads it from trailers, or from the head of a Trailers-Only response. As clients do, it takes a code without a
    /// meaning for UNKNOWN.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(GRPC_STATUS)?.to_str().ok();
        let known = value.and_then(|value| value.parse::<u8>().ok());
        let known = known.filter(|code| usize::from(*code) < Self::NAMES.len());
        Some(known.map_or(Self::UNKNOWN, Code))
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).unwrap_or(&"UNKNOWN")
    }

    /// Returns whether it is a failure of the server rather than of the call, by OpenTelemetry's conventions for
    /// servers.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_server_fault(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }

    /// Returns whether a response without messages that has this code may come from before the method: for want of
    /// the method, of leave, or of room.
    #[cfg(feature = "metrics")]
    pub(crate) fn may_precede_the_method(self) -> bool {
        matches!(self.0, 7 | 8 | 12 | 16)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::Code;

    #[test]
    fn a_code_without_a_meaning_is_unknown() {
        let mut headers = HeaderMap::new();
        assert_eq!(Code::of(&headers), None);
        for (value, number) in [
            ("0", 0),
            ("16", 16),
            ("17", 2),
            ("x", 2),
            ("", 2),
            ("300", 2),
        ] {
            headers.insert("grpc-status", value.parse().unwrap());
            assert_eq!(
                Code::of(&headers).map(Code::number),
                Some(number),
                "{value}"
            );
        }
    }
}
