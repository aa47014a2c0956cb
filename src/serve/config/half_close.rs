/// The treatment of an HTTP/1 request whose client shuts its sending side while the request is being served.
///
/// The client may have closed the connection, or it may still wait for the response, as `nc -N` and some proxies and
/// health checks do. A reset, or a failed write, always means that the client is gone.
///
/// Once a client is gone, its handler (or the rest of its response) is dropped, the connection ends as
/// [`CloseReason::ClientGone`](crate::events::CloseReason), and [`Event::ClientGone`](crate::events::Event) is emitted. Work that
/// must be finished all the same belongs into a task of its own (`tokio::spawn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HalfClose {
    /// Probes the client. 100 ms after the end of its input, the first bytes of the response are written ahead:
    /// `HTTP/1.`, which begins every response; in a silent chunked response, zeros in front of the next chunk's size. A
    /// client that has closed answers with a reset within a round trip; one that still waits sees its response
    /// unchanged.
    ///
    /// These clients are not detected before the next write: one that closes during a response with a `Content-Length`
    /// or without any framing, because there every byte counts; one that stops waiting after the bytes that can be
    /// written ahead; one whose request has bytes behind it that are not read, as a pipelined request or the rest of a
    /// body that the handler leaves unread: its end, and even a reset, lies behind them; and one behind a proxy that
    /// keeps its own connection open.
    #[default]
    Probe,
    /// Answers the request. Only a reset or a failed write shows that the client is gone.
    Answer,
    /// Treats the client as gone at once, as Go's net/http does.
    Cancel,
}
