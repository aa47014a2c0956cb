//! The transport, as the connection's task watches it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, ReadBuf};

use super::held::held_by_kernel;
use super::linger::Linger;
use super::probe::Watch;
use crate::serve::exchange::{Exchange, State, Streams};
use crate::serve::state::{Conn, ConnGuard};
use crate::serve::transport::http2::Wire;

/// How many bytes of empty lines are ignored before a request. RFC 9112, 2.2 asks for one line at least, for
/// the sake of old clients; without an end they would be work that no deadline of a request bounds.
const EMPTY_LINES: usize = 32;

/// The transport of a served connection: what an upgrade hands out.
///
/// After an upgrade it can be had back from `hyper::upgrade::Upgraded` by downcasting to
/// `TokioIo<ServeIo<TcpStream>>`, with `TokioIo` of `hyper-util`. The connection counts as open, and
/// the drain waits for it, until this is dropped. At the end of the drain reads and writes fail with
/// [`io::ErrorKind::ConnectionAborted`].
pub struct ServeIo<T> {
    pub(super) io: T,
    pub(super) reset: fn(&T),
    /// Bytes that were read before there was somebody to take them; they are read first.
    pub(super) ahead: Bytes,
    pub(super) mode: Mode,
    pub(super) fin_sent: bool,
    /// How many bytes of empty lines have come before the next request.
    pub(super) newlines: u8,
    /// The peer has shut its sending side. From there on the transport would say so at each read.
    pub(super) fin_seen: bool,
    pub(crate) guard: ConnGuard,
}

pub(crate) enum Mode {
    Parked,
    Http1(Arc<Exchange>, Box<Kept>),
    Http2(Arc<Streams>, Box<Wire>),
    Upgraded,
}

/// What is kept for an HTTP/1 connection while hyper has it; boxed, because a parked one has none of it.
#[derive(Default)]
pub(crate) struct Kept {
    pub(super) linger: Linger,
    pub(super) watch: Watch,
    /// hyper itself waits for the socket to become readable.
    pub(super) reading: bool,
    /// Where a head and a short body are put together.
    pub(super) small: Vec<u8>,
    /// Whether hyper drives the connection.
    pub(super) by_hyper: bool,
    /// The status that hyper's parser answered by itself, which was not sent.
    pub(super) refused: Option<u16>,
}

impl Kept {
    /// Takes what hyper writes while no request is with the service: its parser's own answer, which says
    /// nothing and reaches no log. Ours is sent in its place.
    pub(super) fn takes(&mut self, exchange: &Exchange, bytes: &[u8]) -> bool {
        if !self.by_hyper || !matches!(exchange.state(), State::Idle | State::Head) {
            return false;
        }
        let status = bytes.get(9..12).map(<[u8]>::iter);
        let digits = status
            .into_iter()
            .flatten()
            .filter(|digit| digit.is_ascii_digit());
        let status = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        self.refused.get_or_insert(status);
        true
    }
}

impl Mode {
    pub(crate) fn http1(exchange: Arc<Exchange>) -> Self {
        let kept = Kept {
            by_hyper: true,
            ..Kept::default()
        };
        Mode::Http1(exchange, Box::new(kept))
    }

    /// The last words of a connection that hyper no longer holds.
    pub(crate) fn closing(exchange: Arc<Exchange>) -> Self {
        Mode::Http1(exchange, Box::default())
    }
}

impl<T: 'static> ServeIo<T> {
    pub(crate) fn new(io: T, reset: fn(&T), guard: ConnGuard) -> Self {
        ServeIo {
            io,
            reset,
            ahead: Bytes::new(),
            mode: Mode::Parked,
            fin_sent: false,
            newlines: 0,
            fin_seen: false,
            guard,
        }
    }

    /// The transport itself.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The status that hyper's parser answered, if it did and the answer was held back.
    pub(crate) fn refused(&self) -> Option<u16> {
        match &self.mode {
            Mode::Http1(_, kept) => kept.refused,
            _ => None,
        }
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Puts bytes back in front of what is to be read.
    pub(crate) fn rewind(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
            return;
        }
        // Taken apart twice in a row: hyper had taken only a part of what was ahead.
        let mut both = BytesMut::with_capacity(bytes.len() + self.ahead.len());
        both.extend_from_slice(&bytes);
        both.extend_from_slice(&self.ahead);
        self.ahead = both.freeze();
    }

    /// How many of these bytes, which come where a request begins, are empty lines before it; `None` when
    /// there have been more of them than are ignored.
    pub(crate) fn empty_lines(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_newline = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let length = bytes.iter().take_while(is_newline).count();
        let total = usize::from(self.newlines) + length;
        if total > EMPTY_LINES {
            return None;
        }
        self.newlines = match length < bytes.len() {
            true => 0,
            false => u8::try_from(total).unwrap_or(u8::MAX),
        };
        Some(length)
    }

    /// hyper holds all that came since the last request, and has given it back: it is counted anew.
    pub(crate) fn recount_empty_lines(&mut self) {
        self.newlines = 0;
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.guard.conn
    }

    /// Makes the drop of the transport tell the peer that it was cut short: a reset, where the
    /// transport has one. Without it the end of a response without a length looks like its proper end.
    pub(crate) fn reset_on_drop(&self) {
        (self.reset)(&self.io);
    }

    /// From the answer that upgrades on, the transport is its user's: no deadlines, no lingering. The
    /// connection's own task may pass here once more before it hands it over.
    pub(super) fn note_upgrade(&mut self) {
        if let Mode::Http1(exchange, _) = &self.mode {
            if exchange.upgraded() {
                self.mode = Mode::Upgraded;
            }
        }
    }

    /// HTTP/1, between two requests: looks whether a head begins with what was read behind `before`. `false`
    /// where there are more empty lines than are ignored: they are kept back, and the connection's task, which
    /// asked hyper to read, is to take the connection out of hyper's hands and see.
    ///
    /// hyper is given the others: it may hold the beginning of a head, which one of these lines ends.
    pub(super) fn begins_request(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> bool {
        let came = &buf.filled()[before..];
        let skipped = match came.first() {
            Some(b'\r' | b'\n') | None => self.empty_lines(came),
            Some(_) => {
                self.newlines = 0;
                Some(0)
            }
        };
        let Mode::Http1(exchange, _) = &self.mode else {
            return true;
        };
        match skipped {
            Some(skipped) if skipped == came.len() => true,
            Some(_) => {
                exchange.begin_head(exchange.now());
                true
            }
            None => {
                exchange.set_unclear();
                self.rewind(Bytes::copy_from_slice(came));
                buf.set_filled(before);
                false
            }
        }
    }

    /// An upgraded connection belongs to its user; the server can only refuse to go on.
    pub(super) fn check_cut(&mut self) -> io::Result<()> {
        self.note_upgrade();
        if matches!(self.mode, Mode::Upgraded) && self.guard.server.cutting() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut at the end of the drain",
            ));
        }
        Ok(())
    }

    /// The user of an upgraded connection waits: it is woken when the connection is cut. Looks at the cut once
    /// more: it may have come between the last look and the moment when there was somebody to wake.
    pub(super) fn waits<R>(
        &mut self,
        poll: Poll<io::Result<R>>,
        register: impl FnOnce(&Conn),
    ) -> Poll<io::Result<R>> {
        if poll.is_pending() && matches!(self.mode, Mode::Upgraded) {
            register(&self.guard.conn);
            self.check_cut()?;
        }
        poll
    }

    /// h2 is about to write.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        self.check_cut()?;
        match &mut self.mode {
            Mode::Http2(streams, _) if streams.leaving.resets() => {
                self.reset_on_drop();
                Poll::Pending
            }
            Mode::Http2(_, wire) => wire.poll_turn(&mut self.io, cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    pub(super) fn wrote(&mut self, poll: &Poll<io::Result<usize>>) {
        // What nearly every write is: all of it taken, and none blocked before it.
        if let (Mode::Http1(exchange, _), Poll::Ready(Ok(written))) = (&self.mode, poll) {
            if !self.fin_seen && !self.guard.conn.write_is_blocked() {
                return exchange.write.count(*written);
            }
        }
        self.wrote_slowly(poll);
    }

    fn wrote_slowly(&mut self, poll: &Poll<io::Result<usize>>) {
        let (conn, clock) = (&self.guard.conn, &self.guard.server.clock);
        let pace = match &self.mode {
            Mode::Http1(exchange, _) => Some(&exchange.write),
            Mode::Http2(streams, _) => Some(&streams.transport),
            Mode::Parked | Mode::Upgraded => None,
        };
        match poll {
            Poll::Pending => {
                let since = conn.write_blocks(clock);
                if let Some(pace) = pace {
                    let held = held_by_kernel(&self.io);
                    if held.is_some_and(|held| pace.hold(held)) {
                        let now = clock.now();
                        pace.progress(now);
                        conn.write_trickles(now);
                    }
                    if !pace.waits() {
                        pace.begin_wait(since);
                    }
                }
            }
            Poll::Ready(written) => {
                let resumed = conn.write_progressed(clock);
                let Some(pace) = pace else { return };
                if let Ok(written) = written {
                    pace.count(*written);
                }
                if let Some(now) = resumed.filter(|_| pace.waits()) {
                    pace.end_wait(now);
                }
                if let Mode::Http1(exchange, kept) = &mut self.mode {
                    match written {
                        Ok(_) if self.fin_seen => kept.watch.wrote(exchange),
                        Ok(_) => {}
                        Err(error) => exchange.failed(error),
                    }
                }
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for ServeIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeIo")
            .field("io", &self.io)
            .field("info", &self.guard.conn.info)
            .finish_non_exhaustive()
    }
}
