use std::fmt;
use std::time::Duration;

/// How long a connection may take for each part of its life: Go's four timeouts, and two for
/// standing still.
///
/// | name (Go's) | default | runs from | to | on expiry |
/// |---|---|---|---|---|
/// | [`read_header`](Self::read_header) (`ReadHeaderTimeout`) | 5 s | accept; later the first byte of the next request | head parsed | some bytes came: `408` and close; none: closed in silence |
/// | [`read`](Self::read) (`ReadTimeout`) | 15 s | as above; HTTP/2: head parsed | request body read to its end, or dropped | the body yields [`BodyError`](super::BodyError); the handler's answer is sent, then the connection closes |
/// | [`write`](Self::write) (`WriteTimeout`) | 30 s | head parsed | last byte of the response handed to the socket | the handler is cancelled; without a head sent: `503` and close; else the connection is aborted. HTTP/2: RST_STREAM |
/// | [`idle`](Self::idle) (`IdleTimeout`) | 120 s | response flushed | first byte of the next request | closed; HTTP/2: GOAWAY when no stream is open |
/// | [`read_stall`](Self::read_stall) | off | last byte received, while the handler waits for the body | next byte | as `read` |
/// | [`write_stall`](Self::write_stall) | 30 s | last byte taken by the peer, while there is more to write | next byte | as `write` |
///
/// On HTTP/2 a client may keep its window shut until only the last piece of a response (16 KiB at most)
/// is left, which h2 holds and cannot take back: its `write` deadline then closes the connection.
///
/// `None` switches one off. As in Go, a `read_header` or `idle` that was set to `None` falls back to
/// `read`. A handler moves its own `read` and `write` by [`Deadlines`](super::Deadlines).
///
/// ```
/// use lameduck::Timeouts;
/// use std::time::Duration;
///
/// let timeouts = Timeouts::default()
///     .read_header(Duration::from_secs(2))
///     .write(None);
/// assert!(timeouts.check().is_ok());
/// assert!(timeouts.idle(Duration::ZERO).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    read_header: Option<Duration>,
    read: Option<Duration>,
    write: Option<Duration>,
    idle: Option<Duration>,
    read_stall: Option<Duration>,
    write_stall: Option<Duration>,
}

/// A longer deadline than this is a mistake of units, or means "off" and should say so.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            read_header: Some(Duration::from_secs(5)),
            read: Some(Duration::from_secs(15)),
            write: Some(Duration::from_secs(30)),
            idle: Some(Duration::from_secs(120)),
            read_stall: None,
            write_stall: Some(Duration::from_secs(30)),
        }
    }
}

impl Timeouts {
    /// All of them off: as `axum::serve` and a bare hyper serve.
    pub const fn none() -> Self {
        Timeouts {
            read_header: None,
            read: None,
            write: None,
            idle: None,
            read_stall: None,
            write_stall: None,
        }
    }

    /// Until a request's head is complete. Default: 5 s. `None`: as `read`.
    #[must_use]
    pub fn read_header(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read_header = wait.into();
        self
    }

    /// Until a request is read to the end of its body. Default: 15 s.
    #[must_use]
    pub fn read(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read = wait.into();
        self
    }

    /// From a request's head to the last byte of its response. Default: 30 s.
    #[must_use]
    pub fn write(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.write = wait.into();
        self
    }

    /// Between a response and the next request. Default: 120 s. `None`: as `read`.
    #[must_use]
    pub fn idle(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.idle = wait.into();
        self
    }

    /// Without a byte of the request body, while the handler waits for one. Default: off.
    #[must_use]
    pub fn read_stall(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.read_stall = wait.into();
        self
    }

    /// Without the peer taking a byte, while there is one to give. Default: 30 s.
    #[must_use]
    pub fn write_stall(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.write_stall = wait.into();
        self
    }

    /// Go's `readHeaderTimeout()`: falls back to `read`.
    pub(super) fn effective_read_header(&self) -> Option<Duration> {
        self.read_header.or(self.read)
    }

    /// Go's `idleTimeout()`: falls back to `read`.
    pub(super) fn effective_idle(&self) -> Option<Duration> {
        self.idle.or(self.read)
    }

    pub(super) fn effective_read(&self) -> Option<Duration> {
        self.read
    }

    pub(super) fn effective_write(&self) -> Option<Duration> {
        self.write
    }

    pub(super) fn effective_read_stall(&self) -> Option<Duration> {
        self.read_stall
    }

    pub(super) fn effective_write_stall(&self) -> Option<Duration> {
        self.write_stall
    }

    /// Whether every one of them makes sense.
    ///
    /// # Errors
    ///
    /// One that is zero or longer than a week: zero would refuse everybody (Go takes it for "off",
    /// which here is `None`), and more than a week is a mistake of units.
    pub fn check(&self) -> Result<(), InvalidTimeout> {
        let all = [
            ("read_header", self.read_header),
            ("read", self.read),
            ("write", self.write),
            ("idle", self.idle),
            ("read_stall", self.read_stall),
            ("write_stall", self.write_stall),
        ];
        for (name, wait) in all {
            if let Some(value) = wait {
                if value.is_zero() || value > LONGEST {
                    return Err(InvalidTimeout { name, value });
                }
            }
        }
        Ok(())
    }
}

/// A timeout that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTimeout {
    name: &'static str,
    value: Duration,
}

impl InvalidTimeout {
    /// The setting's name, `read_header`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for InvalidTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidTimeout { name, value } = self;
        if value.is_zero() {
            write!(
                f,
                "the timeout `{name}` is zero, which would refuse everybody; `None` switches it off"
            )
        } else {
            write!(
                f,
                "the timeout `{name}` is {value:?}, longer than a week; `None` switches it off"
            )
        }
    }
}

impl std::error::Error for InvalidTimeout {}
