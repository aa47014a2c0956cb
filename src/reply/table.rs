use http::StatusCode;
use std::fmt;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The server is about to stop and takes no new work.
    Draining,
    /// The handler had no answer within the time there was for one.
    HandlerTimeout,
    /// The request's body did not arrive in time.
    BodyTooSlow,
    /// The request's head did not arrive in time.
    HeadTooSlow,
    /// The request does not say, or says more than once, which host it is for (RFC 9112, 3.2).
    NoHost,
    /// The host that the request names is not valid, or its target and its `Host` differ (RFC 9112, 3.2; RFC
    /// 9113, 8.3.1).
    BadHost,
    /// The request's target is of no form that goes with its method (RFC 9112, 3.2).
    BadTarget,
    /// Where the request's body ends can be read in more than one way (RFC 9112, 6.1).
    BadFraming,
    /// The request's body has a transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// The head could not be parsed.
    Malformed,
    /// The header section is larger, or has more fields, than is taken.
    HeadTooLarge,
    /// The request's target is longer than is taken.
    TargetTooLong,
    /// A TLS handshake came on a port that serves plain HTTP.
    TlsOnPlainPort,
    /// It began as HTTP/2 and did not go on so.
    BadPreface,
    /// An HTTP/2 connection broke the protocol. It ends with a GOAWAY that says so, and not with this row's status.
    Http2Error,
    /// The service failed instead of answering.
    Internal,
    /// The request took longer than the time it was given; 503.
    RequestTimeout,
    /// The same, told as a gateway tells it; 504.
    GatewayTimeout,
    /// The request's body is larger than what is taken.
    BodyTooLarge,
    /// More requests came than the quota has.
    RateLimited,
    /// Nothing that can be trusted says where the request comes from.
    ClientUnknown,
}

/// One row of the table: the same refusal in each form.
pub(super) struct Row {
    pub name: &'static str,
    pub status: StatusCode,
    pub grpc_status: &'static str,
    pub grpc_message: &'static str,
    pub close: bool,
    pub text: &'static str,
    pub problem: &'static str,
}

/// One source for the sentence that stands in all three forms. `grpc-message` is percent-encoded on
/// the wire (the gRPC over HTTP/2 specification); these sentences have nothing to encode.
macro_rules! row {
    ($name:literal, $status:ident $code:literal $title:literal, grpc $grpc:literal, close $close:literal, $say:literal) => {
        &Row {
            name: $name,
            status: StatusCode::$status,
            grpc_status: $grpc,
            grpc_message: $say,
            close: $close,
            text: concat!($say, "\n"),
            problem: concat!(
                r#"{"type":"about:blank","title":""#,
                $title,
                r#"","status":"#,
                $code,
                r#","detail":""#,
                $say,
                "\"}\n"
            ),
        }
    };
}

impl Reason {
    /// The table.
    pub(super) const fn row(self) -> &'static Row {
        match self {
            Reason::Draining => {
                row!("draining", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "14", close true,
                     "the server is shutting down, please try again")
            }
            Reason::HandlerTimeout => {
                row!("handler_timeout", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "4", close true,
                     "the request took too long")
            }
            Reason::BodyTooSlow => {
                row!("body_too_slow", REQUEST_TIMEOUT 408 "Request Timeout", grpc "4", close true,
                     "the request body did not arrive in time")
            }
            Reason::HeadTooSlow => {
                row!("head_too_slow", REQUEST_TIMEOUT 408 "Request Timeout", grpc "4", close true,
                     "the request did not arrive in time")
            }
            Reason::NoHost => {
                row!("no_host", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request must name its host once")
            }
            Reason::BadHost => {
                row!("bad_host", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request must name one valid host")
            }
            Reason::BadTarget => {
                row!("bad_target", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request target does not fit the method")
            }
            Reason::BadFraming => {
                row!("bad_framing", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the length of the request body is ambiguous")
            }
            Reason::UnknownTransferCoding => {
                row!("unknown_transfer_coding", NOT_IMPLEMENTED 501 "Not Implemented", grpc "12", close true,
                     "the only transfer coding that is understood is chunked")
            }
            Reason::Malformed => {
                row!("malformed", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request is malformed")
            }
            Reason::HeadTooLarge => {
                row!("head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large",
                     grpc "8", close true, "the request's header fields are too large or too many")
            }
            Reason::TargetTooLong => {
                row!("target_too_long", URI_TOO_LONG 414 "URI Too Long", grpc "8", close true,
                     "the request's target is too long")
            }
            Reason::TlsOnPlainPort => {
                row!("tls_on_plain_port", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "this port serves plain HTTP, but a TLS handshake came")
            }
            Reason::BadPreface => {
                row!("bad_preface", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the HTTP/2 connection preface is malformed")
            }
            Reason::Http2Error => {
                row!("http2_error", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the HTTP/2 connection broke the protocol")
            }
            Reason::Internal => {
                row!("internal", INTERNAL_SERVER_ERROR 500 "Internal Server Error", grpc "13", close false,
                     "the server failed to answer")
            }
            Reason::RequestTimeout => {
                row!("request_timeout", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "4", close false,
                     "the request took too long")
            }
            Reason::GatewayTimeout => {
                row!("gateway_timeout", GATEWAY_TIMEOUT 504 "Gateway Timeout", grpc "4", close false,
                     "the request took too long")
            }
            Reason::BodyTooLarge => {
                row!("body_too_large", PAYLOAD_TOO_LARGE 413 "Payload Too Large", grpc "8", close true,
                     "the request body is too large")
            }
            Reason::RateLimited => {
                row!("rate_limited", TOO_MANY_REQUESTS 429 "Too Many Requests", grpc "8", close false,
                     "too many requests, please slow down")
            }
            Reason::ClientUnknown => {
                row!("client_unknown", BAD_REQUEST 400 "Bad Request", grpc "3", close false,
                     "the address of the client is not known")
            }
        }
    }

    /// The reason's name in logs and metrics, `snake_case`.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }
}

all!(Reason: [
    Draining, HandlerTimeout, BodyTooSlow, HeadTooSlow, NoHost, BadHost, BadTarget, BadFraming,
    UnknownTransferCoding, Malformed, HeadTooLarge, TargetTooLong, TlsOnPlainPort, BadPreface, Http2Error, Internal, RequestTimeout, GatewayTimeout,
    BodyTooLarge, RateLimited, ClientUnknown,
]);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
