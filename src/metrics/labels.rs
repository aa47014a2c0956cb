//! The label values that the library defines: closed lists.

use http::Version;

use crate::grpc::Code as GrpcCode;

/// A method as a label. One outside the standard is `_OTHER`, because a client may invent any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Method(u8);

impl Method {
    /// The methods of RFC 9110, PATCH (RFC 5789), QUERY, and the value for all others.
    const NAMES: [&'static str; 11] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        "_OTHER",
    ];
    pub(crate) const COUNT: usize = Self::NAMES.len();

    pub(crate) const OTHER: Method = Method(10);

    pub(crate) fn of(method: &http::Method) -> Self {
        Method(match method.as_str() {
            "GET" => 0,
            "HEAD" => 1,
            "POST" => 2,
            "PUT" => 3,
            "DELETE" => 4,
            "CONNECT" => 5,
            "OPTIONS" => 6,
            "TRACE" => 7,
            "PATCH" => 8,
            "QUERY" => 9,
            _ => 10,
        })
    }

    pub(crate) fn all() -> impl Iterator<Item = Method> {
        (0..Self::COUNT as u8).map(Method)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// The response was sent to the end of its body.
    Answered,
    /// The client left, or the request was cancelled for an unknown reason.
    Gone,
    /// The service failed instead of responding.
    Service,
    /// The response body failed.
    Body,
    /// The service panicked.
    Panic,
    /// A deadline passed.
    Timeout,
    /// The request was cut at the end of the drain.
    Cut,
}

impl Outcome {
    pub(crate) const COUNT: usize = 7;

    /// Returns the outcome of a response that has begun.
    pub(crate) fn of(end: crate::track::BodyEnd) -> Self {
        use crate::track::BodyEnd;
        match end {
            BodyEnd::Complete => Outcome::Answered,
            BodyEnd::Error => Outcome::Body,
            BodyEnd::Cancelled | BodyEnd::ClientGone => Outcome::Gone,
            BodyEnd::Timeout => Outcome::Timeout,
            BodyEnd::Cut => Outcome::Cut,
            BodyEnd::Panic => Outcome::Panic,
        }
    }
}

/// The labels that distinguish series of the same route and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub outcome: Outcome,
    /// 0: no head was sent. 1 to 9: a class (folded). From 100 on: a status.
    status: u16,
    grpc: Option<GrpcCode>,
    version: Option<Version>,
}

impl End {
    /// The number of folded ends: no status and nine classes (of which HTTP has five), each with any outcome.
    pub(crate) const FOLDED: usize = 10 * Outcome::COUNT;
    /// The number of folded ends of gRPC calls, which are all of one method and one class.
    pub(crate) const FOLDED_GRPC: usize = Outcome::COUNT * GrpcCode::COUNT;

    pub(crate) fn new(
        outcome: Outcome,
        status: u16,
        grpc: Option<GrpcCode>,
        version: Version,
    ) -> Self {
        End {
            outcome,
            status,
            grpc,
            version: Some(version),
        }
    }

    /// Reduces the labels: the class of the status, and no version.
    pub(crate) fn folded(self) -> Self {
        End {
            status: self.status / 100,
            grpc: self.grpc.filter(|_| self.status / 100 == 2),
            version: None,
            ..self
        }
    }

    /// Returns a number that is unique to this end.
    pub(crate) fn word(self) -> u64 {
        let version = match self.version {
            None => 0,
            Some(Version::HTTP_09) => 1,
            Some(Version::HTTP_10) => 2,
            Some(Version::HTTP_2) => 4,
            Some(Version::HTTP_3) => 5,
            Some(_) => 3,
        };
        let grpc = self.grpc.map_or(0, |code| u64::from(code.number()) + 1);
        // A status has ten bits.
        (grpc << 27) | (u64::from(self.status) << 16) | (version << 8) | self.outcome as u64
    }

    /// Returns `http_response_status_code`: the status sent, `5xx` if it is folded, empty if none was sent.
    pub(crate) fn status(self) -> Code {
        let digit = |number: u16| b'0' + (number % 10) as u8;
        Code(match self.status {
            0 => None,
            class @ 1..=9 => Some([digit(class), b'x', b'x']),
            code => Some([digit(code / 100), digit(code / 10), digit(code)]),
        })
    }

    /// Returns `rpc_grpc_status_code`; `None` if the request is no gRPC call, or got no status.
    pub(crate) fn grpc(self) -> Option<&'static str> {
        const NUMBERS: [&str; GrpcCode::COUNT] = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
            "16",
        ];
        NUMBERS.get(usize::from(self.grpc?.number())).copied()
    }

    /// Returns `error_type`: empty for a response that is not a failure of the server. `status` is that of
    /// [`status`](Self::status).
    pub(crate) fn error_type(self, status: &str) -> &str {
        match self.outcome {
            Outcome::Answered if matches!(self.status, 5 | 500..=599) => status,
            Outcome::Answered => match self.grpc {
                Some(code) if code.is_server_fault() => code.as_str(),
                _ => "",
            },
            Outcome::Gone => "499",
            Outcome::Service => "service_error",
            Outcome::Body => "body_error",
            Outcome::Panic => "panic",
            Outcome::Timeout => "timeout",
            Outcome::Cut => "cut",
        }
    }

    /// Returns `network_protocol_version` as OpenTelemetry spells it; empty if it is folded.
    pub(crate) fn version(self) -> &'static str {
        match self.version {
            None => "",
            Some(Version::HTTP_09) => "0.9",
            Some(Version::HTTP_10) => "1.0",
            Some(Version::HTTP_2) => "2",
            Some(Version::HTTP_3) => "3",
            Some(_) => "1.1",
        }
    }
}

/// A status of three characters, or none.
pub(super) struct Code(Option<[u8; 3]>);

impl Code {
    pub(crate) fn as_str(&self) -> &str {
        let text = self.0.as_ref().map(|digits| std::str::from_utf8(digits));
        text.and_then(Result::ok).unwrap_or("")
    }
}
