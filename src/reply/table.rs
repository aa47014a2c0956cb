use http::StatusCode;
use std::fmt;

/// The reason for which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The server is about to stop and takes no new work.
    Draining,
    /// The handler did not respond in time.
    HandlerTimeout,
    /// The request body did not arrive in time.
    BodyTooSlow,
    /// The request's head did not arrive in time.
    HeadTooSlow,
    /// The request names no host, or several (RFC 9112, 3.2).
    NoHost,
    /// The request's host is invalid, or its target and its `Host` differ (RFC 9112, 3.2; RFC 9113, 8.3.1).
    BadHost,
    /// The form of the request's target does not fit the method (RFC 9112, 3.2).
    BadTarget,
    /// The length of the request body is ambiguous (RFC 9112, 6.1).
    BadFraming,
    /// The request body has a transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// The head is malformed.
    Malformed,
    /// The header section is too large or has too many fields.
    HeadTooLarge,
    /// The request's target is too long.
    TargetTooLong,
    /// A TLS handshake arrived on a port that serves plain HTTP.
    TlsOnPlainPort,
    /// The connection began as HTTP/2 but did not continue so.
    BadPreface,
    /// An HTTP/2 connection broke the protocol. It ends with a GOAWAY with the error code rather than with this row's
    /// status.
    Http2Error,
    /// The service failed instead of responding.
    Internal,
    /// The request exceeded its time limit; 503.
    RequestTimeout,
    /// The request exceeded its time limit, reported as by a gateway; 504.
    GatewayTimeout,
    /// The request body is too large.
    BodyTooLarge,
    /// The request is over its quota.
    RateLimited,
    /// No trusted source provides the client's address.
    ClientUnknown,
}

/// A row of the table: the same refusal in each form.
pub(super) struct Row {
    pub name: &'static str,
    pub status: StatusCode,
    pub grpc_status: &'static str,
    pub grpc_message: &'static str,
    pub close: bool,
    pub text: &'static str,
    pub problem: &'static str,
}

/// Builds all three forms from one sentence. `grpc-message` is percent-encoded on the wire (the gRPC over HTTP/2
/// specification); these sentences contain nothing to encode.
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

impl RefusalReason {
    /// Returns the row of the table.
    pub(super) const fn row(self) -> &'static Row {
        match self {
            RefusalReason::Draining => {
                row!("draining", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "14", close true,
                     "the server is shutting down, please try again")
            }
            RefusalReason::HandlerTimeout => {
                row!("handler_timeout", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "4", close true,
                     "the request took too long")
            }
            RefusalReason::BodyTooSlow => {
                row!("body_too_slow", REQUEST_TIMEOUT 408 "Request Timeout", grpc "4", close true,
                     "the request body did not arrive in time")
            }
            RefusalReason::HeadTooSlow => {
                row!("head_too_slow", REQUEST_TIMEOUT 408 "Request Timeout", grpc "4", close true,
                     "the request did not arrive in time")
            }
            RefusalReason::NoHost => {
                row!("no_host", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request must name its host once")
            }
            RefusalReason::BadHost => {
                row!("bad_host", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request must name one valid host")
            }
            RefusalReason::BadTarget => {
                row!("bad_target", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request target does not fit the method")
            }
            RefusalReason::BadFraming => {
                row!("bad_framing", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the length of the request body is ambiguous")
            }
            RefusalReason::UnknownTransferCoding => {
                row!("unknown_transfer_coding", NOT_IMPLEMENTED 501 "Not Implemented", grpc "12", close true,
                     "the only transfer coding that is understood is chunked")
            }
            RefusalReason::Malformed => {
                row!("malformed", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the request is malformed")
            }
            RefusalReason::HeadTooLarge => {
                row!("head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large",
                     grpc "8", close true, "the request's header fields are too large or too many")
            }
            RefusalReason::TargetTooLong => {
                row!("target_too_long", URI_TOO_LONG 414 "URI Too Long", grpc "8", close true,
                     "the request's target is too long")
            }
            RefusalReason::TlsOnPlainPort => {
                row!("tls_on_plain_port", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "this port serves plain HTTP, but a TLS handshake came")
            }
            RefusalReason::BadPreface => {
                row!("bad_preface", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the HTTP/2 connection preface is malformed")
            }
            RefusalReason::Http2Error => {
                row!("http2_error", BAD_REQUEST 400 "Bad Request", grpc "3", close true,
                     "the HTTP/2 connection broke the protocol")
            }
            RefusalReason::Internal => {
                row!("internal", INTERNAL_SERVER_ERROR 500 "Internal Server Error", grpc "13", close false,
                     "the server failed to answer")
            }
            RefusalReason::RequestTimeout => {
                row!("request_timeout", SERVICE_UNAVAILABLE 503 "Service Unavailable", grpc "4", close false,
                     "the request took too long")
            }
            RefusalReason::GatewayTimeout => {
                row!("gateway_timeout", GATEWAY_TIMEOUT 504 "Gateway Timeout", grpc "4", close false,
                     "the request took too long")
            }
            RefusalReason::BodyTooLarge => {
                row!("body_too_large", PAYLOAD_TOO_LARGE 413 "Payload Too Large", grpc "8", close true,
                     "the request body is too large")
            }
            RefusalReason::RateLimited => {
                row!("rate_limited", TOO_MANY_REQUESTS 429 "Too Many Requests", grpc "8", close false,
                     "too many requests, please slow down")
            }
            RefusalReason::ClientUnknown => {
                row!("client_unknown", BAD_REQUEST 400 "Bad Request", grpc "3", close false,
                     "the address of the client is not known")
            }
        }
    }

    /// Returns the name used in logs and metrics, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }
}

all!(RefusalReason: [
    Draining, HandlerTimeout, BodyTooSlow, HeadTooSlow, NoHost, BadHost, BadTarget, BadFraming,
    UnknownTransferCoding, Malformed, HeadTooLarge, TargetTooLong, TlsOnPlainPort, BadPreface, Http2Error, Internal, RequestTimeout, GatewayTimeout,
    BodyTooLarge, RateLimited, ClientUnknown,
]);

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
