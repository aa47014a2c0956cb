//! Tells a client that is gone from one that has only shut its sending side.
//!
//! A reset is an error of the transport. The end of what a client sends is none: a client that closes, and one
//! that waits for its answer with `shutdown(SHUT_WR)` done, look the same until something is written to them.
//! Then the closed one answers with a reset. So something is written that the response begins with anyway.

use std::io;
use std::time::Duration;

use crate::serve::exchange::{Exchange, State};
use crate::serve::time::Tick;

/// From the end of what a client sends to the first byte that is written ahead: an answer that comes sooner
/// needs no probe.
const PROBE_AFTER: Duration = Duration::from_millis(100);
/// From a write to the first look for the reset that it may have caused. The pause doubles with each look, so
/// that a reset is seen at most as long again after it was sent.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// What every HTTP/1 response begins with, an interim one too.
const PREFIX: &[u8; 7] = b"HTTP/1.";
/// So much of it is written first. The rest follows some looks later: where reading does not show a reset
/// (TLS, once the client has said that it sends no more), a second write fails.
const FIRST_PART: usize = 6;
/// A leading zero of a chunk's size, which says nothing (RFC 9112, 7.1).
const ZERO: &[u8] = b"0";
/// How many of them a response gets.
const ZEROS: u8 = 2;

/// What of [`PREFIX`] was written ahead of hyper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    written: u8,
    /// How much of that hyper has not written yet.
    owed: u8,
}

impl Prefix {
    pub(crate) fn is_owed(self) -> bool {
        self.owed > 0
    }

    /// How many of the bytes that hyper writes are on the wire already.
    pub(crate) fn settle(&mut self, bytes: &[u8]) -> io::Result<usize> {
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

/// What is written ahead of hyper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Bytes of the response that hyper will write too.
    Prefix(&'static [u8]),
    /// A byte that hyper knows nothing of.
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

/// Watches a client that has shut its sending side, through one request.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Looks since the end of what the client sends, or since the last write.
    looks: u8,
    prefix: Prefix,
    zeros: u8,
}

impl Watch {
    pub(crate) fn prefix(&mut self) -> &mut Prefix {
        &mut self.prefix
    }

    /// The request is over.
    pub(crate) fn over(&mut self, exchange: &Exchange) {
        *self = Watch::default();
        exchange.set_look(Tick::NEVER);
    }

    /// A part of the response was written: it may cause a reset.
    pub(crate) fn wrote(&mut self, exchange: &Exchange) {
        self.looks = 1;
        exchange.set_look(exchange.now().after(Some(FIRST_LOOK)));
    }

    /// Whether it is time for a look. Sees to it that the connection's task comes back for the next one.
    pub(crate) fn is_due(&mut self, exchange: &Exchange) -> bool {
        let now = exchange.now();
        match exchange.look() {
            Tick::NEVER => {
                exchange.set_look(now.after(Some(PROBE_AFTER)));
                false
            }
            at if at > now => false,
            _ => {
                let pause = FIRST_LOOK * (1 << self.looks.min(13));
                self.looks = self.looks.saturating_add(1);
                exchange.set_look(now.after(Some(pause.min(LAST_LOOK))));
                true
            }
        }
    }

    /// What to write ahead with this look.
    pub(crate) fn ahead(&self, exchange: &Exchange) -> Option<Ahead> {
        // 100 ms after the end of what the client sends, or 70 ms after a write; once more after as long again,
        // which is the time for the round trip of most clients.
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

    /// So many bytes of it were written: a part of the prefix is the beginning of a response as well.
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
