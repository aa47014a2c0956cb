//! TCP keep-alive: how a peer that has vanished without a word is found out.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The longest that Linux takes for the pauses, and the most probes.
const LONGEST: Duration = Duration::from_secs(32_767);
const MOST_PROBES: u32 = 127;

/// When the kernel asks a silent TCP peer whether it is still there, and when it gives it up.
///
/// A peer that has crashed or lost its network sends nothing, not even a reset. Where nothing is being written
/// to it (an idle websocket), only these probes find that out. Default: Go's, 15 s of silence, then a probe
/// each 15 s; after 9 probes without an answer, 150 s after the last byte, reads fail with
/// [`TimedOut`](std::io::ErrorKind::TimedOut).
///
/// ```
/// use lameduck::Limits;
/// use lameduck::serve::Keepalive;
/// use std::time::Duration;
///
/// let keepalive = Keepalive::new(Duration::from_secs(60)).interval(Duration::from_secs(5)).probes(4);
/// assert!(Limits::default().tcp_keepalive(keepalive).check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    on: bool,
    idle: Duration,
    interval: Duration,
    probes: u32,
}

impl Keepalive {
    /// Asks after this long a silence. The default's is 15 s.
    #[must_use]
    pub const fn new(idle: Duration) -> Self {
        Keepalive {
            on: true,
            idle,
            interval: Duration::from_secs(15),
            probes: 9,
        }
    }

    /// Never asks.
    #[must_use]
    pub const fn off() -> Self {
        Keepalive {
            on: false,
            ..Keepalive::new(Duration::from_secs(15))
        }
    }

    /// Sets the pause between two probes. Default: 15 s. Not on OpenBSD, which has one for all sockets.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many probes may go without an answer. Default: 9. Not on OpenBSD, which has one for all sockets.
    #[must_use]
    pub const fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// The silence before the first probe; `None` when it is off.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.on.then_some(self.idle)
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if !self.on {
            return Ok(());
        }
        for pause in [self.idle, self.interval] {
            if pause < Duration::from_secs(1) || pause > LONGEST {
                return Err("its pauses are from 1 s to 32767 s");
            }
            if pause.subsec_nanos() != 0 {
                return Err("its pauses are whole seconds");
            }
        }
        if self.probes == 0 || self.probes > MOST_PROBES {
            return Err("it takes from 1 to 127 probes");
        }
        Ok(())
    }

    /// Sets it on a socket; one that listens hands it on to those that it accepts, on Linux.
    pub(crate) fn set_on(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if !self.on {
            return socket.set_keepalive(false);
        }
        let keepalive = TcpKeepalive::new().with_time(self.idle);
        #[cfg(not(target_os = "openbsd"))]
        let keepalive = keepalive
            .with_interval(self.interval)
            .with_retries(self.probes);
        socket.set_tcp_keepalive(&keepalive)
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive::new(Duration::from_secs(15))
    }
}
