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

/// The maximum number of bytes in empty lines that are ignored before a request. RFC 9112, 2.2 asks for at least one
/// line, for the sake of old clients; without a limit they would be work that no deadline of a request bounds.
const EMPTY_LINES: usize = 32;

/// The transport of a served connection, as an upgrade hands it out.
///
/// After an upgrade, get it back from `hyper::upgrade::Upgraded` by downcasting to `TokioIo<ServeIo<TcpStream>>`, with
/// `TokioIo` of `hyper-util`. The connection counts as open, and the drain waits for it, until this is dropped. At the
/// end of the drain reads and writes fail with [`io::ErrorKind::ConnectionAborted`].
pub struct ServeIo<T> {
    pub(super) io: T,
    pub(super) reset: fn(&T),
    /// Bytes that were read before they had a reader; they are read first.
    pub(super) ahead: Bytes,
    pub(super) mode: Mode,
    pub(super) fin_sent: bool,
    /// The number of bytes in empty lines before the next request.
    pub(super) newlines: u8,
    /// `true` if the last of them is a carriage return, which only a line feed may follow.
    after_cr: bool,
    /// `true` once the peer has shut its sending side. From then on the transport would report it at each read.
    pub(super) fin_seen: bool,
    pub(crate) guard: ConnGuard,
}

pub(crate) enum Mode {
    Parked,
    Http1(Arc<Exchange>, Box<Http1Io>),
    Http2(Arc<Streams>, Box<Wire>),
    Upgraded,
}

/// The state kept for an HTTP/1 connection while hyper has it; boxed, because a parked one has none of it.
#[derive(Default)]
pub(crate) struct Http1Io {
    pub(super) linger: Linger,
    pub(super) watch: Watch,
    /// `true` while hyper itself waits for the socket to become readable.
    pub(super) reading: bool,
    /// A buffer that joins a head and a short body.
    pub(super) small: Vec<u8>,
    /// `true` while hyper drives the connection.
    pub(super) by_hyper: bool,
    /// The status of a response that hyper's parser wrote by itself, and that was held back.
    pub(super) refused: Option<u16>,
}

impl Http1Io {
    /// Takes hyper's output while no request is with the service: its parser's own response, which has no content and
    /// reaches no log. The server's own is sent in its place.
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
        let kept = Http1Io {
            by_hyper: true,
            ..Http1Io::default()
        };
        Mode::Http1(exchange, Box::new(kept))
    }

    /// Creates the mode of a closing connection that hyper no longer holds.
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
            after_cr: false,
            fin_seen: false,
            guard,
        }
    }

    /// Returns the underlying transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Returns the status of the response of hyper's parser, if there was one and it was held back.
    pub(crate) fn refused(&self) -> Option<u16> {
        match &self.mode {
            Mode::Http1(_, kept) => kept.refused,
            _ => None,
        }
    }

    /// Returns `true` if the close has waited for the peer, or the peer has closed.
    pub(crate) fn has_lingered(&self) -> bool {
        matches!(&self.mode, Mode::Http1(_, kept) if kept.linger.is_over())
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Puts bytes back in front of the unread input.
    pub(crate) fn rewind(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
            return;
        }
        // Taken back twice in a row: hyper had taken only a part of what was ahead.
        let mut both = BytesMut::with_capacity(bytes.len() + self.ahead.len());
        both.extend_from_slice(&bytes);
        both.extend_from_slice(&self.ahead);
        self.ahead = both.freeze();
    }

    /// Counts the bytes in empty lines at the start of these, which come where a request begins. Returns `None` once
    /// their total exceeds the limit, or if a carriage return stands alone.
    pub(crate) fn empty_lines(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut length = 0;
        for byte in bytes {
            match byte {
                b'\n' => self.after_cr = false,
                _ if self.after_cr => return None,
                b'\r' => self.after_cr = true,
                _ => break,
            }
            length += 1;
        }
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

    /// Restarts the count of empty lines: hyper held all input since the last request and has given it back.
    pub(crate) fn recount_empty_lines(&mut self) {
        self.newlines = 0;
        self.after_cr = false;
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.guard.conn
    }

    /// Resets the connection on drop, where the transport can, so that the peer sees that it was cut short. Otherwise
    /// the end of a response without a length looks like its proper end.
    pub(crate) fn reset_on_drop(&self) {
        (self.reset)(&self.io);
    }

    /// Notes that the transport belongs to its user from the upgrade's response on: no deadlines, no lingering. The
    /// connection's own task may pass here once more before it hands it over.
    pub(super) fn note_upgrade(&mut self) {
        if let Mode::Http1(exchange, _) = &self.mode {
            if exchange.upgraded() {
                self.mode = Mode::Upgraded;
            }
        }
    }

    /// HTTP/1, between two requests: looks for the beginning of a head in the bytes read behind `before`. Returns
    /// `false` if the empty lines exceed their limit: they are kept back, and the connection's task, which asked hyper
    /// to read, then takes the connection out of hyper's hands to inspect them.
    ///
    /// hyper gets the other lines: it may hold the beginning of a head that one of them ends.
    pub(super) fn begins_request(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> bool {
        let came = &buf.filled()[before..];
        let skipped = match came.first() {
            Some(b'\r' | b'\n') | None => self.empty_lines(came),
            Some(_) => {
                self.newlines = 0;
                self.after_cr = false;
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

    /// Fails once an upgraded connection is cut: it belongs to its user, so the server can only refuse to go on.
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

    /// Registers the waiting user of an upgraded connection, so that a cut wakes it. Checks for the cut once more: it
    /// may have come between the last check and the registration.
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

    /// Prepares for a write of h2.
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
        // The case of nearly every write: all of it taken, and no earlier one blocked.
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
