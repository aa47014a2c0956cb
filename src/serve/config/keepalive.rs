//! TCP keep-alive: the detection of peers that have vanished without a close.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The limits of Linux for the pauses and the number of probes.
const LONGEST: Duration = Duration::from_secs(32_767);
const MOST_PROBES: u32 = 127;

/// The kernel's schedule for probing a silent TCP peer and for giving it up.
///
/// A peer that has crashed or lost its network sends nothing, not even a reset. While no data is written to it (an idle
/// websocket), only these probes detect that. Default: Go's, 15 s of silence, then a probe each 15 s; after 9 probes
/// without an answer, 150 s after the last byte, reads fail with [`TimedOut`](std::io::ErrorKind::TimedOut).
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
    /// Creates a schedule that probes after `idle` of silence. The default's is 15 s.
    #[must_use]
    pub const fn new(idle: Duration) -> Self {
        Keepalive {
            on: true,
            idle,
            interval: Duration::from_secs(15),
            probes: 9,
        }
    }

    /// Creates a schedule without probes.
    #[must_use]
    pub const fn off() -> Self {
        Keepalive {
            on: false,
            ..Keepalive::new(Duration::from_secs(15))
        }
    }

    /// Sets the pause between two probes. Default: 15 s. Not on OpenBSD, which has one setting for all sockets.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many probes may remain unanswered. Default: 9. Not on OpenBSD, which has one setting for all sockets.
    #[must_use]
    pub const fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// Returns the silence before the first probe; `None` if probes are off.
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

    /// Applies the schedule to a socket; on Linux a listening socket passes it on to those that it accepts.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_bounds_are_within_its_range() {
        for pause in [Duration::from_secs(1), LONGEST] {
            let keepalive = Keepalive::new(pause).interval(pause);
            assert_eq!(keepalive.check(), Ok(()), "{pause:?}");
        }
        for probes in [1, MOST_PROBES] {
            assert_eq!(Keepalive::default().probes(probes).check(), Ok(()));
        }
    }
}
