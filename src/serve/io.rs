//! The transport, as the connection's task watches it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Tick;
use super::conn::{Conn, ConnGuard};
use super::exchange::{Exchange, State};

/// How long a peer that is still sending is given to read an early answer.
const LINGER: Duration = Duration::from_secs(5);
/// The same after a timeout: the peer has had its time.
const LINGER_AFTER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may send nothing meanwhile.
const LINGER_STALL: Duration = Duration::from_secs(1);
/// How much of what it sends is read away.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// The transport of a served connection: what an upgrade hands out.
///
/// After an upgrade it can be had back from `hyper::upgrade::Upgraded` by downcasting to
/// `TokioIo<ServeIo<TcpStream>>`, with `TokioIo` of `hyper-util`. The connection counts as open, and
/// the drain waits for it, until this is dropped. At the end of the drain reads and writes fail with
/// [`io::ErrorKind::ConnectionAborted`].
pub struct ServeIo<T> {
    io: T,
    reset: fn(&T),
    /// Bytes that were read before there was somebody to take them; they are read first.
    ahead: Bytes,
    mode: Mode,
    fin_sent: bool,
    pub(super) guard: ConnGuard,
}

pub(super) enum Mode {
    Parked,
    Http1(Arc<Exchange>, Linger),
    Http2,
    Upgraded,
}

/// A lingering close: the write side is shut, what still comes is read away.
#[derive(Default)]
pub(super) struct Linger {
    until: Option<Tick>,
    read: usize,
    saw_end: bool,
}

impl Mode {
    pub fn http1(exchange: Arc<Exchange>) -> Self {
        Mode::Http1(exchange, Linger::default())
    }
}

impl<T> ServeIo<T> {
    pub(super) fn new(io: T, reset: fn(&T), guard: ConnGuard) -> Self {
        ServeIo {
            io,
            reset,
            ahead: Bytes::new(),
            mode: Mode::Parked,
            fin_sent: false,
            guard,
        }
    }

    /// The transport itself.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Puts bytes back in front of what is to be read.
    pub(super) fn rewind(&mut self, bytes: Bytes) {
        debug_assert!(self.ahead.is_empty());
        self.ahead = bytes;
    }

    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.guard.conn
    }

    /// Makes the drop of the transport tell the peer that it was cut short: a reset, where the
    /// transport has one. Without it the end of a response without a length looks like its proper end.
    pub(super) fn reset_on_drop(&self) {
        (self.reset)(&self.io);
    }

    /// From the answer that upgrades on, the transport is its user's: no deadlines, no lingering. The
    /// connection's own task may pass here once more before it hands it over.
    fn note_upgrade(&mut self) {
        if let Mode::Http1(exchange, _) = &self.mode {
            if exchange.upgraded() {
                self.mode = Mode::Upgraded;
            }
        }
    }

    /// An upgraded connection belongs to its user; the server can only refuse to go on.
    fn check_cut(&mut self) -> io::Result<()> {
        self.note_upgrade();
        if matches!(self.mode, Mode::Upgraded) && self.guard.server.cutting() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut at the end of the drain",
            ));
        }
        Ok(())
    }

    fn wrote<R>(&self, cx: &Context<'_>, poll: &Poll<io::Result<R>>) {
        match poll {
            Poll::Pending => {
                self.guard.conn.write_blocks(&self.guard.server.clock);
                if matches!(self.mode, Mode::Upgraded) {
                    self.guard.conn.set_writer(cx.waker());
                }
            }
            Poll::Ready(_) => self.guard.conn.write_progressed(),
        }
    }
}

/// Empty lines before a request are no request (RFC 9112, 2.2).
pub(super) fn only_newlines(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

impl<T: AsyncRead + Unpin> AsyncRead for ServeIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_cut()?;
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.io).poll_read(cx, buf);
        match (&mut this.mode, &poll) {
            (Mode::Http1(exchange, linger), Poll::Ready(Ok(()))) => {
                let came = &buf.filled()[before..];
                if came.is_empty() {
                    linger.saw_end = true;
                } else if exchange.state() == State::Idle && !only_newlines(came) {
                    exchange.begin_head(exchange.now());
                }
            }
            (Mode::Upgraded, Poll::Pending) => this.guard.conn.set_reader(cx.waker()),
            _ => {}
        }
        poll
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServeIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_cut()?;
        let poll = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(cx, &poll);
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_cut()?;
        let poll = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(cx, &poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        // hyper flushes the transport only when its own buffer is empty: the response's last byte
        // has been handed over.
        if let Mode::Http1(exchange, _) = &this.mode {
            exchange.flushed();
        }
        this.note_upgrade();
        Poll::Ready(Ok(()))
    }

    /// Closes in a way that lets the peer read the answer: the write side first; if the request was
    /// not read to its end, what still comes is read away for a bounded time. A socket that is closed
    /// with unread bytes in it resets, and the reset eats the answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.fin_sent {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.fin_sent = true;
        }
        this.note_upgrade();
        let Mode::Http1(exchange, linger) = &mut this.mode else {
            return Poll::Ready(Ok(()));
        };
        if linger.saw_end {
            return Poll::Ready(Ok(()));
        }
        let unread = match exchange.state() {
            State::Idle => false,
            State::Responding => exchange.body_open(),
            State::Head | State::Handler | State::Discarding | State::Lingering => true,
        };
        let now = exchange.now();
        if unread && linger.until.is_none() {
            let timed_out = exchange.read_expired() || exchange.write_expired();
            let most = if timed_out {
                LINGER_AFTER_TIMEOUT
            } else {
                LINGER
            };
            let until = now.after(Some(most));
            linger.until = Some(until);
            exchange.linger_until(until.min(now.after(Some(LINGER_STALL))));
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.io).poll_read(cx, &mut scrap) {
                Poll::Pending if unread => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
                // The peer is gone: there is nobody left to read the answer.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if scrap.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    linger.read += scrap.filled().len();
                    if let Some(until) = linger.until {
                        exchange.linger_until(until.min(now.after(Some(LINGER_STALL))));
                    }
                    if linger.read > LINGER_BYTES {
                        return Poll::Ready(Ok(()));
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
