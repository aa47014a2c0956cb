use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::shutdown::signals::Signal;

/// The place where the handlers leave the signals.
pub(super) struct Ear {
    pub pipe: UnixStream,
    pub flags: [Arc<AtomicBool>; Signal::ALL.len()],
}

impl Ear {
    /// Waits for a signal, a change or `deadline`, and returns the signals that came.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Vec<Signal> {
        // Zero would mean no timeout.
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let timeout = deadline.map(|deadline| left(deadline).max(Duration::from_millis(1)));
        let waited = self
            .pipe
            .set_read_timeout(timeout)
            .and_then(|()| self.pipe.read(&mut [0; 64]));
        match waited {
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                // Not to be expected of a pipe of our own; it must not become a busy loop.
                _ => std::thread::sleep(Duration::from_millis(100)),
            },
        }
        let came = Signal::ALL.into_iter().zip(&self.flags);
        came.filter(|(_, flag)| flag.swap(false, Ordering::SeqCst))
            .map(|(signal, _)| signal)
            .collect()
    }
}

pub(super) fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Terminate => SIGTERM,
        Signal::Quit => SIGQUIT,
        Signal::Interrupt => SIGINT,
        Signal::Hangup => SIGHUP,
    }
}
