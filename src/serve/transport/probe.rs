//! A probe that distinguishes a client that is gone from one that has only shut its sending side.
//!
//! A reset is an error of the transport. The end of a client's input is not: a client that closes, and one that waits
//! for its response with `shutdown(SHUT_WR)` done, look the same until something is written to them. Then the closed
//! one answers with a reset. So the probe writes bytes with which the response begins anyway.

use std::io;

use crate::serve::config::fixed::{FIRST_PROBE_LOOK, LONGEST_PROBE_LOOK, PROBE_AFTER};
use crate::serve::exchange::{Exchange, State};
use crate::serve::time::Tick;

/// The beginning of every HTTP/1 response, including interim ones.
const PREFIX: &[u8; 7] = b"HTTP/1.";
/// The length of the part that is written first. The rest follows some looks later: where reading does not show a reset
/// (TLS, once the client has announced that it sends no more), a second write fails.
const FIRST_PART: usize = 6;
/// A leading zero of a chunk's size, which has no meaning (RFC 9112, 7.1).
const ZERO: &[u8] = b"0";
/// The maximum number of these zeros per response.
const ZEROS: u8 = 2;

/// The part of [`PREFIX`] that was written ahead of hyper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    written: u8,
    /// The part of it that hyper has not written yet.
    owed: u8,
}

impl Prefix {
    pub(crate) fn is_owed(self) -> bool {
        self.owed > 0
    }

    /// Returns the number of bytes in hyper's output that are on the wire already.
    pub(crate) fn skip_written(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = usize::from(self.written).min(PREFIX.len());
        let owed = &PREFIX[written.saturating_sub(usize::from(self.owed))..written];
        let length = owed.len().min(bytes.len());
        if bytes[..length] != owed[..length] {
            let problem = "the response does not begin as HTTP/1 responses do";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        self.owed = self.owed.saturating_sub(length as u8);
        Ok(length)
    }
}

/// Bytes to write ahead of hyper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Bytes of the response that hyper will write too.
    Prefix(&'static [u8]),
    /// A byte that hyper does not know of.
    Zero,
}

impl Ahead {
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Ahead::Prefix(bytes) => bytes,
            Ahead::Zero => ZERO,
        }
    }
}

/// The watch on a client that has shut its sending side, through one request.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The number of looks since the end of the client's input, or since the last write.
    looks: u8,
    prefix: Prefix,
    zeros: u8,
}

impl Watch {
    pub(crate) fn prefix(&mut self) -> &mut Prefix {
        &mut self.prefix
    }

    /// Ends the watch with the request.
    pub(crate) fn over(&mut self, exchange: &Exchange) {
        *self = Watch::default();
        exchange.set_look(Tick::NEVER);
    }

    /// Records that a part of the response was written: it may cause a reset.
    pub(crate) fn wrote(&mut self, exchange: &Exchange) {
        self.looks = 1;
        exchange.set_look(exchange.now().after(Some(FIRST_PROBE_LOOK)));
    }

    /// Returns `true` if it is time for a look. Also schedules the connection's task for the next one.
    pub(crate) fn is_due(&mut self, exchange: &Exchange) -> bool {
        let now = exchange.now();
        match exchange.look() {
            Tick::NEVER => {
                exchange.set_look(now.after(Some(PROBE_AFTER)));
                false
            }
            at if at > now => false,
            _ => {
                let pause = FIRST_PROBE_LOOK * (1 << self.looks.min(13));
                self.looks = self.looks.saturating_add(1);
                exchange.set_look(now.after(Some(pause.min(LONGEST_PROBE_LOOK))));
                true
            }
        }
    }

    /// Returns the bytes to write ahead with this look.
    pub(crate) fn ahead(&self, exchange: &Exchange) -> Option<Ahead> {
        // 100 ms after the end of the client's input, or 70 ms after a write; once more after as long again, which
        // covers the round trip of most clients.
        if !matches!(self.looks, 1 | 4 | 5) {
            return None;
        }
        let Prefix { written, owed } = self.prefix;
        match exchange.state() {
            State::Handler if written == 0 => Some(Ahead::Prefix(&PREFIX[..FIRST_PART])),
            State::Handler if written == owed && usize::from(written) < PREFIX.len() => {
                Some(Ahead::Prefix(&PREFIX[usize::from(written)..]))
            }
            State::Responding if exchange.chunked() && self.zeros < ZEROS => Some(Ahead::Zero),
            _ => None,
        }
    }

    /// Records that `count` bytes were written ahead: a part of the prefix begins a response as well.
    pub(crate) fn wrote_ahead(&mut self, ahead: Ahead, count: usize) {
        let count = u8::try_from(count).unwrap_or(u8::MAX);
        match ahead {
            Ahead::Prefix(_) => {
                self.prefix.written = self.prefix.written.saturating_add(count);
                self.prefix.owed = self.prefix.owed.saturating_add(count);
            }
            Ahead::Zero => self.zeros = self.zeros.saturating_add(count),
        }
    }
}
