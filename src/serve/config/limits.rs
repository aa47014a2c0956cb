use std::time::Duration;

use super::half_close::HalfClose;
use super::http2_limits::Http2Limits;
use super::invalid_limit::InvalidLimit;
use super::keepalive::Keepalive;

/// The limits of a server: the resources of a connection, and the number of connections.
///
/// ```
/// use lameduck::Limits;
/// let limits = Limits::default().max_connections(10_000).max_header_bytes(16 * 1024);
/// assert!(limits.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_headers: Option<usize>,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) discard: u64,
    pub(crate) drain_window: Duration,
    pub(crate) half_close: HalfClose,
    pub(crate) http2: Http2Limits,
    pub(crate) tcp_keepalive: Keepalive,
    pub(crate) tcp_user_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: None,
            max_header_bytes: 64 * 1024,
            max_headers: None,
            max_concurrent_streams: 200,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            discard: 256 * 1024,
            drain_window: Duration::from_millis(500),
            half_close: HalfClose::Probe,
            http2: Http2Limits::default(),
            tcp_keepalive: Keepalive::default(),
            tcp_user_timeout: None,
        }
    }
}

impl Limits {
    /// Sets the maximum number of open connections; further ones wait in the kernel's accept queue instead of being
    /// refused. Default: `None`, as many as the system allows.
    #[must_use]
    pub fn max_connections(mut self, most: impl Into<Option<usize>>) -> Self {
        self.max_connections = most.into();
        self
    }

    /// Sets the maximum size of a request head in bytes (request line and headers): over it, 431. On HTTP/2 it is the
    /// maximum header list (SETTINGS_MAX_HEADER_LIST_SIZE). Default: 64 KiB; Go's is 1 MiB, nginx's 32 KiB.
    #[must_use]
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.max_header_bytes = bytes;
        self
    }

    /// Sets the maximum number of headers of a request: over it, 431. Default: `None`, which is 100; on HTTP/1 any
    /// other number makes hyper allocate for each request.
    #[must_use]
    pub fn max_headers(mut self, most: impl Into<Option<usize>>) -> Self {
        self.max_headers = most.into();
        self
    }

    /// Sets the maximum number of open streams of an HTTP/2 connection. Default: 200.
    #[must_use]
    pub fn max_concurrent_streams(mut self, most: u32) -> Self {
        self.max_concurrent_streams = most;
        self
    }

    /// Sets the interval between the PINGs that check if an HTTP/2 client is still there. Default: 30 s.
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// Sets the time for the answer to that PING, after which the connection is closed. Default: 20 s.
    #[must_use]
    pub fn ping_timeout(mut self, wait: Duration) -> Self {
        self.ping_timeout = wait;
        self
    }

    /// Sets how many bytes of an unread request body are discarded so that an HTTP/1 connection can be used again; with
    /// more to come, the connection closes after the response. Default: 256 KiB, as Go's net/http.
    #[must_use]
    pub fn discard(mut self, bytes: u64) -> Self {
        self.discard = bytes;
        self
    }

    /// Sets the time in which, once the drain begins, a connection that was just accepted or has sent half a head must
    /// complete its request. A request that is complete by then is answered. Default: 500 ms.
    #[must_use]
    pub fn drain_window(mut self, window: Duration) -> Self {
        self.drain_window = window;
        self
    }

    /// Sets the treatment of an HTTP/1 request whose client shuts its sending side while the request is being served.
    /// Default: [`HalfClose::Probe`], which detects if the client is gone.
    #[must_use]
    pub fn half_close(mut self, policy: HalfClose) -> Self {
        self.half_close = policy;
        self
    }

    /// Sets the kernel's schedule for probing a silent TCP peer. Default: the first probe after 15 s; a peer that has
    /// vanished is given up 150 s after its last byte. It applies to connections that a `TcpListener` accepts; an
    /// accept loop of your own sets its sockets itself.
    #[must_use]
    pub fn tcp_keepalive(mut self, keepalive: Keepalive) -> Self {
        self.tcp_keepalive = keepalive;
        self
    }

    /// Sets how long sent bytes may remain unacknowledged, or a shut window unopened, before the kernel gives the peer
    /// up (TCP_USER_TIMEOUT; Linux and Android). Default: `None`, some 15 minutes of retransmissions, unless a deadline
    /// comes first.
    ///
    /// It also replaces [`Keepalive::probes`]: a peer that answers no probe is given up when it has been silent for
    /// this long. So it must not be shorter than the silence before the first probe.
    #[must_use]
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.tcp_user_timeout = timeout.into();
        self
    }

    /// Sets the limits of HTTP/2 only: windows, buffers, resets. Default: [`Http2Limits::default`].
    #[must_use]
    pub fn http2(mut self, limits: Http2Limits) -> Self {
        self.http2 = limits;
        self
    }

    /// Returns the maximum number of headers of an HTTP/2 request.
    pub(crate) fn effective_max_headers(&self) -> usize {
        // hyper's own, for HTTP/1.
        self.max_headers.unwrap_or(100)
    }

    /// Checks that every limit makes sense.
    ///
    /// # Errors
    ///
    /// A limit that would refuse every request, or that hyper does not support.
    pub fn check(&self) -> Result<(), InvalidLimit> {
        let wrong = |name, problem| Err(InvalidLimit::new(name, problem));
        if self.max_connections == Some(0) {
            return wrong("max_connections", "0 would refuse every connection");
        }
        if self.max_connections > Some(tokio::sync::Semaphore::MAX_PERMITS) {
            return wrong(
                "max_connections",
                "is more than can be counted; `None` is no limit",
            );
        }
        if self.max_header_bytes < 256 {
            return wrong("max_header_bytes", "below 256 bytes no request fits");
        }
        if self.max_header_bytes > 64 * 1024 * 1024 {
            return wrong("max_header_bytes", "over 64 MiB is no limit");
        }
        if self.max_headers == Some(0) {
            return wrong(
                "max_headers",
                "0 would refuse every request that names its host",
            );
        }
        if self.max_headers > Some(32_768) {
            return wrong("max_headers", "a header map holds at most 32768");
        }
        if self.max_concurrent_streams == 0 {
            return wrong(
                "max_concurrent_streams",
                "0 would refuse every HTTP/2 request",
            );
        }
        if self.ping_interval == Some(Duration::ZERO) {
            return wrong(
                "ping_interval",
                "zero would do nothing but ping; `None` switches it off",
            );
        }
        if self.ping_timeout.is_zero() {
            return wrong("ping_timeout", "zero would close every HTTP/2 connection");
        }
        let longest = Some(super::timeouts::LONGEST);
        if self.ping_interval > longest {
            return wrong(
                "ping_interval",
                "is longer than a week; `None` switches it off",
            );
        }
        if Some(self.ping_timeout) > longest {
            return wrong("ping_timeout", "is longer than a week");
        }
        if let Err(problem) = self.tcp_keepalive.check() {
            return wrong("tcp_keepalive", problem);
        }
        if self
            .tcp_user_timeout
            .is_some_and(|timeout| timeout < Duration::from_millis(1))
        {
            return wrong(
                "tcp_user_timeout",
                "below 1 ms it would be off; `None` switches it off",
            );
        }
        if self.tcp_user_timeout > longest {
            return wrong(
                "tcp_user_timeout",
                "is longer than a week; `None` switches it off",
            );
        }
        if self.tcp_user_timeout.is_some() && self.tcp_user_timeout < self.tcp_keepalive.idle() {
            return wrong(
                "tcp_user_timeout",
                "is shorter than the silence before the first keep-alive probe, and would end connections at it",
            );
        }
        if Some(self.drain_window) > longest {
            return wrong("drain_window", "is longer than a week");
        }
        self.http2.check()
    }
}
