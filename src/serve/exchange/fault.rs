use std::fmt;

/// What was wrong with a response, or how its service failed: the error of an
/// [`Event::ServiceError`](crate::events::Event::ServiceError).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceFault {
    /// A final status below 200, which no response may have; a 101 where no upgrade was asked for. The client
    /// got a 500.
    Status,
    /// A body where the status or the method allows none. It was left out.
    Body,
    /// A `Content-Length` that is not the body's. It was corrected where the length was known; otherwise the
    /// response was broken off where it came to differ.
    ContentLength,
    /// A `Transfer-Encoding`, which is the server's to choose. It was removed.
    TransferEncoding,
    /// `Connection` with options other than `close` and `keep-alive`, `Keep-Alive`, `Proxy-Connection` or
    /// `Upgrade`: they belong to one connection, and were copied from another. They were removed.
    HopByHop,
    /// A panic. Its connection ended, or its stream on HTTP/2.
    Panic,
}

impl fmt::Display for ServiceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServiceFault::Status => "the response had a status that none may have",
            ServiceFault::Body => "the response had a body where none is allowed",
            ServiceFault::ContentLength => "the response's Content-Length was not its body's",
            ServiceFault::TransferEncoding => "the response had a Transfer-Encoding",
            ServiceFault::HopByHop => "the response had headers of another connection",
            ServiceFault::Panic => "it panicked",
        })
    }
}

impl std::error::Error for ServiceFault {}
