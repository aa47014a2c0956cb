//! The server: an accept loop that loses no connection, Go's timeouts on each, and a drain.
//!
//! [`serve`] takes a listener and any tower service over HTTP, and runs until the process is asked to stop; it returns
//! the [`Report`](crate::Report) of the shutdown. It speaks HTTP/1.1 and HTTP/2 (prior knowledge) on the same port, and
//! hands upgrades on.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use lameduck::serve::RequestBody;
//! use lameduck::{Shutdown, Timeouts};
//! use std::{convert::Infallible, time::Duration};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = tower::service_fn(|_: Request<RequestBody>| async {
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//! });
//! let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
//! let addr = listener.local_addr().unwrap();
//! let shutdown = Shutdown::new().lame_duck(Duration::ZERO);
//! let handle = shutdown.handle();
//! let server = tokio::spawn(
//!     lameduck::serve(listener, service)
//!         .timeouts(Timeouts::default().idle(Duration::from_secs(30)))
//!         .shutdown(shutdown)
//!         .into_future(),
//! );
//!
//! let mut client = TcpStream::connect(addr).await.unwrap();
//! client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
//! let mut answer = [0; 15];
//! client.read_exact(&mut answer).await.unwrap();
//! assert_eq!(&answer, b"HTTP/1.1 200 OK");
//!
//! handle.shutdown(); // or a SIGTERM
//! let report = server.await.unwrap().unwrap();
//! assert_eq!(report.requests, 1);
//! assert!(report.is_clean());
//! # }
//! ```
//!
//! # A connection's life
//!
//! ```text
//! accept -> PARKED --first bytes--> HEAD --parsed--> HANDLER, BODY --answer--> RESPONSE
//!             ^                                                                   |
//!             +---------------------- flushed, and quiet -------------------------+
//!                                                    101, CONNECT -> upgraded
//! ```
//!
//! * **Parked** connections have no hyper connection and no buffers; an idle one costs about 1.3 kB. A connection is
//!   parked right after a response, unless its last pause was shorter than a second.
//! * **Deadlines** are those of [`Timeouts`]; a handler moves its own by [`Deadlines`]. On HTTP/1 there is one timer
//!   per connection, and a request does not touch the timer wheel. On HTTP/2 there is also one per stream, which is
//!   armed if the stream is not answered at once.
//! * **Empty lines** before a request are ignored (RFC 9112, 2.2), 32 bytes of them; more are answered with 400, as is
//!   a carriage return without its line feed. They prolong no deadline.
//! * **An unread request body** is discarded up to [`Limits::discard`], so that the connection can be used again. With
//!   more to come, or when it timed out or broke, the response carries `Connection: close`. Bytes behind a body that
//!   did not end exactly are never taken for a request, whether the service read it or not. On HTTP/1 a request with
//!   trailers is the last of its connection: the end of trailers is uncertain.
//! * **A request has one meaning only**, or is refused before the service sees it: one valid host, the same in the
//!   target and in `Host` (400); a target that fits the method (400); `chunked` as the one transfer coding (501, or 400
//!   where it is malformed). HTTP/2 is held to the same. A fragment in a target is dropped by the `http` crate and not
//!   seen. If `Transfer-Encoding` and `Content-Length` are both present, hyper removes the length and the first counts;
//!   such a request is the last of its connection (RFC 9112, 6.1). `OPTIONS *` reaches the service. A refused CONNECT
//!   ends its connection. A request with a body is not upgraded on HTTP/1.
//! * **The framing of a response belongs to the server.** `Content-Length`, `Transfer-Encoding`, hop-by-hop headers, a
//!   forbidden body and a final status below 200 are corrected. A stream that departs from its `Content-Length` is
//!   aborted. A broken response is visibly incomplete: the connection is reset if its end would look like the
//!   response's end.
//! * **Early answers linger**, and answers with requests behind them that are not served: the write side closes first,
//!   and further input is discarded for at most 5 s, or 1 s of silence (0.5 s after a timeout). A socket that is closed with unread bytes in it resets, and the reset destroys
//!   the response.
//! * **HTTP/2 connections linger** while the client is still reading its last responses: a PING follows them, the write
//!   side closes, and input is discarded until the client acknowledges the PING or closes, for at most 1 s of silence
//!   (3 s after a WINDOW_UPDATE) and 30 s in all. An idle connection that has acknowledged its GOAWAY closes at once.
//! * **A client that ignores the GOAWAY** has two round trips, at least 1 s, to acknowledge it. After that new streams
//!   get REFUSED_STREAM, and the connection closes with the old ones.
//! * **`Expect: 100-continue`** is answered when the body is first polled. On HTTP/2 hyper does not do that, and
//!   `serve` does it where it can identify the stream: not for the ninth stream that is opened at once, nor beside one
//!   that h2 refuses. Such a client sends its body after waiting long enough.
//! * **An error of the service** is answered with 500, and reported as [`Event::ServiceError`](crate::events::Event);
//!   so is a faulty response, as a [`ServiceFault`]. A panic ends its connection
//!   ([`CloseReason::Panicked`](crate::events::CloseReason)), on HTTP/2 its stream.
//! * **A client that is gone** ends its request: the handler is dropped within 50 ms of a reset, and within 250 ms of
//!   an orderly close. One that has only shut its sending side is still answered; [`HalfClose`] describes how the two
//!   are distinguished, and when they cannot be. Bytes behind the request (a pipelined request, a body that the handler
//!   does not read) hide the close until they are read.
//!
//! # The drain
//!
//! In the lame-duck phase HTTP/1 responses carry `Connection: close` more and more often (all of them in the last
//! quarter), and HTTP/2 connections get a GOAWAY at a random moment of the third quarter, in two steps of 100 ms, so
//! that no request on its way is refused. An HTTP/2 connection that comes in the lame duck gets it when draining begins:
//! its client has just been sent away, and would come back each time. When draining begins:
//!
//! 1. The accept queue is emptied, then the listener closes.
//! 2. A connection that has sent nothing yet, or half a head, has [`Limits::drain_window`] to complete a request, which
//!    is answered.
//! 3. Requests in flight are finished: to the last byte that the socket takes, and on HTTP/2 to the last byte that h2
//!    writes. An upgraded connection is in flight until its IO is dropped.
//! 4. When nothing is in flight, idle connections close, each after a last look for a request.
//! 5. At the deadline the remaining requests are cut, and named in the report. An HTTP/2 response that was written less
//!    than a second before is not among them: whether its client has read it cannot be known yet.
//!
//! A gRPC call that is cut gets no status: its connection closes, and the client's library reports that in its own way
//! (tonic's as UNKNOWN). A stream of a route with `route().streaming()` has ended with UNAVAILABLE before
//! ([`per_route`](crate::per_route#streams)); other calls get a status by a deadline shorter than the drain
//! ([`TimeoutLayer`](crate::TimeoutLayer), `grpc-timeout`).
//!
//! # Request bodies and extensions
//!
//! The request's body is a [`RequestBody`]; the response's may be any body of `Bytes`. The request's extensions hold
//! [`ConnInfo`](crate::ConnInfo) and [`Deadlines`], with the feature `axum` the peer as axum's
//! `ConnectInfo<SocketAddr>`, the additions of [`on_connection`](Serve::on_connection), and hyper's `OnUpgrade`. They
//! cost four small allocations per request, five with the feature `axum`;
//! [`without_extensions`](Serve::without_extensions) leaves them out.

mod builder;
mod config;
mod connection;
mod connections;
mod error;
mod exchange;
mod listen;
mod service;
mod start;
mod state;
mod task;
mod time;
mod transport;

pub use crate::deadlines::Deadlines;
pub use crate::min_rate::MinRate;
pub use builder::Serve;
pub use config::{
    HalfClose, Http2Limits, InvalidLimit, InvalidTimeout, Keepalive, Limits, Protocols, Timeouts,
};
pub use connections::{Connections, ServeConnection, serve_connection_with_timeouts};
pub use error::ServeError;
pub use exchange::ServiceFault;
pub use listen::Listener;
pub use service::{App, BodyError, RequestBody};
pub use task::ServeTask;
pub use transport::ServeIo;

/// Serves `service` on `listener` until the process is asked to stop, drains, and reports.
///
/// Await the [`Serve`] that it returns, after changing its defaults as needed. The defaults are [`Timeouts::default`],
/// [`Limits::default`] and [`Shutdown::new`](crate::Shutdown::new), which listens to SIGTERM and SIGINT.
///
/// Dropping the future stops accepting; connections that are open are served to their end.
///
/// # Errors
///
/// The server does not start with invalid timeouts, limits or budgets, if signal handlers cannot be installed, or
/// without a runtime that has timers and I/O (`enable_all`). Once started it does not fail: an error of a connection
/// ends that connection.
pub fn serve<L: Listener, A: App>(listener: L, service: A) -> Serve<L, A> {
    Serve::new(listener, service)
}

/// Serves with these timeouts: the same as `serve(listener, service).timeouts(timeouts)`.
///
/// ```no_run
/// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> Result<(), lameduck::serve::ServeError> {
/// use lameduck::{Timeouts, serve_with_timeouts};
/// use std::time::Duration;
///
/// let timeouts = Timeouts::default().read_header(Duration::from_secs(2));
/// let report = serve_with_timeouts(listener, app, timeouts).await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
pub fn serve_with_timeouts<L: Listener, A: App>(
    listener: L,
    service: A,
    timeouts: Timeouts,
) -> Serve<L, A> {
    serve(listener, service).timeouts(timeouts)
}
