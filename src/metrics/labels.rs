//! The label values that are not the service's own: closed lists.

use http::Version;

/// A method as it is told: one that is no standard method is `_OTHER`, for a client may make up any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Method(u8);

impl Method {
    /// RFC 9110, PATCH (RFC 5789), QUERY, and what is none of them.
    const NAMES: [&'static str; 11] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        "_OTHER",
    ];
    pub const COUNT: usize = Self::NAMES.len();

    pub const OTHER: Method = Method(10);

    pub fn of(method: &http::Method) -> Self {
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

    pub fn all() -> impl Iterator<Item = Method> {
        (0..Self::COUNT as u8).map(Method)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// Answered to the end of the body.
    Answered,
    /// The client left, or it was given up for a reason that is not known.
    Gone,
    /// The service failed instead of answering.
    Service,
    /// The response body failed.
    Body,
    /// The service panicked.
    Panic,
    /// A deadline passed.
    Timeout,
    /// Cut at the end of the drain.
    Cut,
}

impl Outcome {
    pub const COUNT: usize = 7;

    /// Of a response that has begun.
    pub fn of(end: crate::track::End) -> Self {
        use crate::track::End;
        match end {
            End::Complete => Outcome::Answered,
            End::Error => Outcome::Body,
            End::Cancelled | End::ClientGone => Outcome::Gone,
            End::Timeout => Outcome::Timeout,
            End::Cut => Outcome::Cut,
            End::Panic => Outcome::Panic,
        }
    }
}

/// What tells two series of one route and method apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub outcome: Outcome,
    /// 0: no head was sent. 1 to 9: a class (folded). From 100 on: a status.
    status: u16,
    version: Option<Version>,
}

impl End {
    /// How many folded ends there are: no status and nine classes (of which HTTP has five), each with any
    /// outcome.
    pub const FOLDED: usize = 10 * Outcome::COUNT;

    pub fn new(outcome: Outcome, status: u16, version: Version) -> Self {
        End {
            outcome,
            status,
            version: Some(version),
        }
    }

    /// The same with less to tell: the class of the status, and no version.
    pub fn folded(self) -> Self {
        End {
            status: self.status / 100,
            version: None,
            ..self
        }
    }

    /// The same number for the same end.
    pub fn word(self) -> u64 {
        let version = match self.version {
            None => 0,
            Some(Version::HTTP_09) => 1,
            Some(Version::HTTP_10) => 2,
            Some(Version::HTTP_2) => 4,
            Some(Version::HTTP_3) => 5,
            Some(_) => 3,
        };
        (u64::from(self.status) << 16) | (version << 8) | self.outcome as u64
    }

    /// `http_response_status_code`: as it was sent, `5xx` where it is folded, empty if none was sent.
    pub fn status(self) -> Code {
        let digit = |number: u16| b'0' + (number % 10) as u8;
        Code(match self.status {
            0 => None,
            class @ 1..=9 => Some([digit(class), b'x', b'x']),
            code => Some([digit(code / 100), digit(code / 10), digit(code)]),
        })
    }

    /// `error_type`: empty for an answer that is none of the server's failures. `status` is that of
    /// [`status`](Self::status).
    pub fn error_type(self, status: &str) -> &str {
        match self.outcome {
            Outcome::Answered if matches!(self.status, 5 | 500..=599) => status,
            Outcome::Answered => "",
            Outcome::Gone => "499",
            Outcome::Service => "service_error",
            Outcome::Body => "body_error",
            Outcome::Panic => "panic",
            Outcome::Timeout => "timeout",
            Outcome::Cut => "cut",
        }
    }

    /// `network_protocol_version`, as OpenTelemetry spells it; empty where it is folded.
    pub fn version(self) -> &'static str {
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

/// Three characters, or none.
pub(super) struct Code(Option<[u8; 3]>);

impl Code {
    pub fn as_str(&self) -> &str {
        let text = self.0.as_ref().map(|digits| std::str::from_utf8(digits));
        text.and_then(Result::ok).unwrap_or("")
    }
}
