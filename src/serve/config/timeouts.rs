use std::fmt;
use std::time::Duration;

use crate::min_rate::{MinRate, RateProblem};

/// The deadlines of a connection, for each part of its life: Go's four, one for the response's head, two for a peer
/// that stalls and two for a peer that is too slow.
///
/// | name (Go's) | default | [`go()`](Self::go) | runs from | to | on expiry |
/// |---|---|---|---|---|---|
/// | [`read_header`](Self::read_header) (`ReadHeaderTimeout`) | 5 s | 5 s | accept; later the first byte of the next request | head parsed | some bytes came: `408` and close; none: closed without a response |
/// | [`response_head`](Self::response_head) | 60 s | off | head parsed, and again with each part of the body that the handler gets | the response's head | the handler is cancelled: `503` and close, gRPC `DEADLINE_EXCEEDED` |
/// | [`read`](Self::read) (`ReadTimeout`) | off | 15 s | as `read_header`; HTTP/2: head parsed | request body read to its end, or dropped | the body yields [`BodyError`](crate::serve::BodyError); the handler's response is sent, or `408` in place of an error ([below](#a-slow-upload)), then the connection closes |
/// | [`write`](Self::write) (`WriteTimeout`) | off | 30 s | head parsed | last byte of the response handed to the socket | before the response's head: as `response_head`; later the connection is aborted. HTTP/2: RST_STREAM |
/// | [`idle`](Self::idle) (`IdleTimeout`) | 120 s | 120 s | response flushed | first byte of the next request | closed; HTTP/2: GOAWAY when no stream is open |
/// | [`read_stall`](Self::read_stall) | 30 s | off | last byte received, while the handler waits for the body | next byte | as `read` |
/// | [`write_stall`](Self::write_stall) | 30 s | off | last byte taken by the peer, while there is more to write | next byte | as `write` |
/// | [`min_read_rate`](Self::min_read_rate) | 240 B/s | off | 5 s into the wait for a body | its end | as `read` |
/// | [`min_write_rate`](Self::min_write_rate) | 240 B/s | off | 5 s into the wait for the peer to take a response | its end | as `write` |
///
/// With the defaults any transfer that makes progress goes on, however long it takes: event streams, downloads, uploads
/// and gRPC streams. Silence of the server (an event stream between two events) is never charged to the peer. Two cases
/// need a setting of their own: a handler that takes longer than `response_head` to begin its response (a long poll),
/// and a request body that pauses for longer than `read_stall` (a client that streams its own events). Switch the
/// deadline off there by [`Deadlines`](crate::serve::Deadlines). Between two messages of a gRPC request the client may
/// be silent for as long as it likes.
///
/// Behind a balancer `idle` must be longer than the time for which the balancer keeps an idle connection to the
/// service: a server that closes first resets a request that is on its way, and the client sees a 502 or 503. The
/// default is longer than the 60 s of an AWS ALB and of nginx's upstream `keepalive_timeout`, and the 5 s of
/// CloudFront. Google Cloud's load balancers keep it for 600 s (`idle` 620 s), Cloudflare for 900 s, Envoy for 1 h by
/// default. Clients that come directly keep theirs for less: nginx, as a server, waits for 75 s.
///
/// `None` switches a deadline off. As in Go, a `read_header` or `idle` that is `None` falls back to `read`.
///
/// # HTTP/2
///
/// `response_head`, `read`, `write`, the stalls and the rates are each stream's own: a stream whose window stays shut
/// is reset while others go on. A stream that only waits for its turn on a slow connection is not at fault; there the
/// connection as a whole must keep `write_stall` and `min_write_rate`. A response of at most 16 KiB whose end does not
/// fit the client's window is in h2's hands and cannot be taken back: its deadline closes the connection.
///
/// `read_header` is the connection's: from accept to the client's SETTINGS, and from the first byte of a header block,
/// or of any other frame than DATA, to its last. h2 reads a connection's frames in their order and hands over whole
/// heads only, so half a head holds back every stream: on expiry the connection gets a GOAWAY and closes, whatever
/// other streams do. h2 reports neither the progress of a block nor its stream; so there is no 408, and the request is
/// not named.
///
/// # A slow upload
///
/// After `read`, `read_stall` or `min_read_rate` the handler's body ends with an error. A handler that then answers
/// with a status of 400 or above (axum's extractors answer 400) has its answer replaced by
/// [`BodyTooSlow`](crate::reply::RefusalReason::BodyTooSlow): `408`, gRPC `DEADLINE_EXCEEDED`. A 408 of its own is
/// sent, as is a response below 400. Layers around the handler, as the metrics and the access log, see the handler's
/// own status.
///
/// # A late server
///
/// A deadline takes effect only after a last look at the input that has arrived. If the process, or the threads of its
/// runtime, stood still (SIGSTOP, a suspended machine, a handler that blocks), the client keeps what it sent meanwhile,
/// and has as long again as the server was late, up to 250 ms.
///
/// # What the kernel hides
///
/// A socket asks for more only when some 64 KiB of its data are sent. On Linux the server therefore asks the kernel how
/// much of it the peer has acknowledged, so that a reader of 300 bytes a second does not look like one that stalls.
/// Elsewhere, and if the transport is not a TCP or Unix socket (TLS), one slower than about 2 kB/s does, and
/// `write_stall` decides. A client's kernel takes data that its process does not read, and announces new room in steps.
/// So the first window of a `min_write_rate` is twice as long, and a window may use up to 8 KiB of the previous one's
/// surplus.
///
/// ```
/// use lameduck::Timeouts;
/// use std::time::Duration;
///
/// let timeouts = Timeouts::default()
///     .read_header(Duration::from_secs(2))
///     .response_head(None);
/// assert!(timeouts.check().is_ok());
/// assert!(timeouts.idle(Duration::ZERO).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    read_header: Option<Duration>,
    response_head: Option<Duration>,
    read: Option<Duration>,
    write: Option<Duration>,
    idle: Option<Duration>,
    read_stall: Option<Duration>,
    write_stall: Option<Duration>,
    min_read_rate: Option<MinRate>,
    min_write_rate: Option<MinRate>,
}

/// The longest deadline: a longer one is a mistake of units, or means "off" and should be `None`.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Default for Timeouts {
    /// Creates deadlines that hold no slow client and cut no healthy one; the table lists the values.
    fn default() -> Self {
        Timeouts {
            read_header: Some(Duration::from_secs(5)),
            response_head: Some(Duration::from_secs(60)),
            idle: Some(Duration::from_secs(120)),
            read_stall: Some(Duration::from_secs(30)),
            write_stall: Some(Duration::from_secs(30)),
            min_read_rate: Some(MinRate::new(240)),
            min_write_rate: Some(MinRate::new(240)),
            ..Timeouts::none()
        }
    }
}

impl Timeouts {
    /// Creates timeouts with every deadline off: as `axum::serve` and a bare hyper serve.
    pub const fn none() -> Self {
        Timeouts {
            read_header: None,
            response_head: None,
            read: None,
            write: None,
            idle: None,
            read_stall: None,
            write_stall: None,
            min_read_rate: None,
            min_write_rate: None,
        }
    }

    /// Creates Go's four timeouts and no others: `read_header` 5 s, `read` 15 s, `write` 30 s, `idle` 120 s.
    ///
    /// `read` and `write` are totals: they end long uploads, downloads and event streams too, unless a handler moves
    /// them by [`Deadlines`](crate::serve::Deadlines).
    pub const fn go() -> Self {
        let mut timeouts = Timeouts::none();
        timeouts.read_header = Some(Duration::from_secs(5));
        timeouts.read = Some(Duration::from_secs(15));
        timeouts.write = Some(Duration::from_secs(30));
        timeouts.idle = Some(Duration::from_secs(120));
        timeouts
    }

    /// Limits the time until a request's head is complete. Default: 5 s. `None`: as `read`.
    #[doc(alias("ReadHeaderTimeout", "header_read_timeout"))]
    #[must_use]
    pub fn read_header(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read_header = wait.into();
        self
    }

    /// Limits the time in which the handler must begin its response: from the request's head, or from the
    /// last part of its body that the handler got, to the response's head. Default: 60 s, after which
    /// most load balancers have given up too.
    #[must_use]
    pub fn response_head(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.response_head = wait.into();
        self
    }

    /// Limits the time until a request is read to the end of its body. Default: off; Go's is 15 s in
    /// [`go()`](Self::go).
    #[doc(alias("ReadTimeout"))]
    #[must_use]
    pub fn read(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read = wait.into();
        self
    }

    /// Limits the time from a request's head to the last byte of its response. Default: off; 30 s in
    /// [`go()`](Self::go).
    #[doc(alias("WriteTimeout"))]
    #[must_use]
    pub fn write(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.write = wait.into();
        self
    }

    /// Limits the time between a response and the next request. Default: 120 s. `None`: as `read`.
    #[doc(alias("IdleTimeout", "keep_alive_timeout"))]
    #[must_use]
    pub fn idle(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.idle = wait.into();
        self
    }

    /// Limits the time without a byte of the request body, while the handler waits for one. Default:
    /// 30 s.
    #[doc(alias("RequestBodyTimeoutLayer"))]
    #[must_use]
    pub fn read_stall(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read_stall = wait.into();
        self
    }

    /// Limits the time in which the peer takes no byte, while there is output. Default: 30 s.
    #[must_use]
    pub fn write_stall(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.write_stall = wait.into();
        self
    }

    /// Sets the minimum pace of a request body, while the handler waits for it. Default: 240 B/s in windows of 10 s,
    /// after a grace of 5 s.
    #[must_use]
    pub fn min_read_rate(mut self, rate: impl Into<Option<MinRate>>) -> Self {
        self.min_read_rate = rate.into();
        self
    }

    /// Sets the minimum pace at which the peer takes a response, while there is output. Default: 240 B/s in windows of
    /// 10 s, after a grace of 5 s.
    #[must_use]
    pub fn min_write_rate(mut self, rate: impl Into<Option<MinRate>>) -> Self {
        self.min_write_rate = rate.into();
        self
    }

    /// Returns Go's `readHeaderTimeout()`: falls back to `read`.
    pub(crate) fn effective_read_header(&self) -> Option<Duration> {
        self.read_header.or(self.read)
    }

    /// Returns Go's `idleTimeout()`: falls back to `read`.
    pub(crate) fn effective_idle(&self) -> Option<Duration> {
        self.idle.or(self.read)
    }

    pub(crate) fn effective_read(&self) -> Option<Duration> {
        self.read
    }

    pub(crate) fn effective_write(&self) -> Option<Duration> {
        self.write
    }

    pub(crate) fn effective_response_head(&self) -> Option<Duration> {
        self.response_head
    }

    pub(crate) fn effective_min_read_rate(&self) -> Option<MinRate> {
        self.min_read_rate
    }

    pub(crate) fn effective_min_write_rate(&self) -> Option<MinRate> {
        self.min_write_rate
    }

    pub(crate) fn effective_read_stall(&self) -> Option<Duration> {
        self.read_stall
    }

    pub(crate) fn effective_write_stall(&self) -> Option<Duration> {
        self.write_stall
    }

    /// Checks that every setting makes sense.
    ///
    /// # Errors
    ///
    /// A duration that is zero or longer than a week: zero would refuse every request (Go takes it for
    /// "off", which here is `None`), and more than a week is a mistake of units. A rate of zero or of
    /// more than 1 GB/s, or with a window of zero.
    pub fn check(&self) -> Result<(), InvalidTimeout> {
        let durations = [
            ("read_header", self.read_header),
            ("response_head", self.response_head),
            ("read", self.read),
            ("write", self.write),
            ("idle", self.idle),
            ("read_stall", self.read_stall),
            ("write_stall", self.write_stall),
        ];
        for (name, wait) in durations {
            let problem = match wait {
                Some(Duration::ZERO) => Problem::Zero,
                Some(wait) if wait > LONGEST => Problem::TooLong(wait),
                _ => continue,
            };
            return Err(InvalidTimeout { name, problem });
        }
        let rates = [
            ("min_read_rate", self.min_read_rate),
            ("min_write_rate", self.min_write_rate),
        ];
        for (name, rate) in rates {
            if let Some(problem) = rate.and_then(|rate| rate.problem()) {
                let problem = Problem::Rate(problem);
                return Err(InvalidTimeout { name, problem });
            }
        }
        Ok(())
    }
}

/// An invalid timeout: zero, or longer than a week; or an invalid rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTimeout {
    name: &'static str,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Zero,
    TooLong(Duration),
    Rate(RateProblem),
}

impl InvalidTimeout {
    /// Returns the setting's name, as in `read_header`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for InvalidTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.problem {
            Problem::Zero => write!(
                f,
                "the timeout `{name}` is zero, which would refuse every client; `None` switches it off"
            ),
            Problem::TooLong(wait) => write!(
                f,
                "the timeout `{name}` is {wait:?}, longer than a week; `None` switches it off"
            ),
            Problem::Rate(problem) => write!(f, "the rate `{name}` {problem}"),
        }
    }
}

impl std::error::Error for InvalidTimeout {}
