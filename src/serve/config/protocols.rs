/// The versions of HTTP that a server speaks.
///
/// The first bytes of a connection choose the protocol. A connection in a disabled protocol gets `400` in HTTP/1.1 and
/// a close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocols {
    /// HTTP/1 and HTTP/2 (prior knowledge) on the same port.
    #[default]
    Both,
    /// HTTP/1.0 and HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, as a gRPC server.
    Http2,
}
