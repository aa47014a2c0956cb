/// What becomes of an HTTP/1 request whose client shuts its sending side while the request is being served.
///
/// It may have closed the connection, or it may still wait for the answer, as `nc -N` and some proxies and
/// health checks do. A reset is always taken for a client that is gone, and so is a failed write.
///
/// Once a client is gone, its handler (or the rest of its response) is dropped, the connection ends as
/// [`Closed::ClientGone`](crate::events::Closed), and
/// [`Event::ClientGone`](crate::events::Event) is emitted. Work that must be finished all the same belongs
/// into a task of its own (`tokio::spawn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HalfClose {
    /// Finds out. 100 ms after the end of what the client sends, the first bytes of the response are written
    /// ahead, `HTTP/1.`, which every response begins with; of a chunked response that is silent, zeros in
    /// front of the next chunk's size. A client that has closed answers with a reset within a round trip, one
    /// that still waits sees its response as if nothing had happened.
    ///
    /// Not found out before the next write: a client that closes during a response with a
    /// `Content-Length` or without any framing, because there every byte counts; one that stops waiting after
    /// the bytes that can be written ahead; and one that is on the other side of a proxy that keeps its own
    /// connection open.
    #[default]
    Probe,
    /// Answers it. A client that is gone is found out by a reset or a failed write only.
    Answer,
    /// Takes it for gone at once, as Go's net/http does.
    Cancel,
}
