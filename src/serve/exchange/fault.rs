use std::fmt;

/// A fault in a response, or a failure of its service: the error of an
/// [`Event::ServiceError`](crate::events::Event::ServiceError).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceFault {
    /// A final status below 200, which no response may have, or a 101 without a requested upgrade. The client received
    /// a 500.
    Status,
    /// A body where the status or the method allows none. It was omitted.
    Body,
    /// A `Content-Length` that differs from the body's length. It was corrected if the length was known; otherwise the
    /// response was aborted where the body departed from it.
    ContentLength,
    /// A `Transfer-Encoding`, which only the server chooses. It was removed.
    TransferEncoding,
    /// A `Connection` header with options other than `close` and `keep-alive`, or a `Keep-Alive`, `Proxy-Connection` or
    /// `Upgrade` header. These headers belong to one connection and were copied from another. They were removed.
    HopByHop,
    /// A panic. It ended the connection, or the stream on HTTP/2.
    Panic,
}

impl fmt::Display for ServiceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServiceFault::Status => "the response had a status that is not allowed",
            ServiceFault::Body => "the response had a body, which is not allowed",
            ServiceFault::ContentLength => "the response's Content-Length differed from its body",
            ServiceFault::TransferEncoding => "the response had a Transfer-Encoding",
            ServiceFault::HopByHop => "the response had headers that belong to another connection",
            ServiceFault::Panic => "the service panicked",
        })
    }
}

impl std::error::Error for ServiceFault {}
