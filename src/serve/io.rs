//! The transport, as the connection's task watches it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Tick;
use super::conn::{Conn, ConnGuard};
use super::exchange::{Exchange, State};
use super::h2::{NOTICE, Streams};

/// How long a peer that is still sending is given to read an early answer.
const LINGER: Duration = Duration::from_secs(5);
/// The same after a timeout: the peer has had its time.
const LINGER_AFTER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may send nothing meanwhile.
const LINGER_STALL: Duration = Duration::from_secs(1);
/// How much of what it sends is read away.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// What is written as one piece rather than as several.
const SMALL: usize = 1024;

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
    Http2(Arc<Streams>, Between),
    Upgraded,
}

/// Where the stream of bytes of an HTTP/2 connection stands.
#[derive(Default)]
pub(super) struct Between {
    /// h2 has written something, and so its SETTINGS first.
    begun: bool,
    /// h2 has written since it last flushed: this may be the middle of a frame.
    dirty: bool,
    /// How much of the notice has been written.
    noticed: usize,
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

    /// Writes the notice to leave, between two frames: h2 flushes the transport when it has handed over
    /// all it had, so after a flush and before the next write nothing is half written.
    fn poll_notice(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        let Mode::Http2(streams, between) = &mut self.mode else {
            return Poll::Ready(Ok(()));
        };
        let under_way = between.noticed > 0;
        if !streams.notice.load(Relaxed) || (!under_way && (between.dirty || !between.begun)) {
            return Poll::Ready(Ok(()));
        }
        while between.noticed < NOTICE.len() {
            let rest = &NOTICE[between.noticed..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => between.noticed += length,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// h2 is about to write.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        self.check_cut()?;
        if let Mode::Http2(_, Between { noticed: 1.., .. }) = self.mode {
            ready!(self.poll_notice(cx))?;
        }
        if let Mode::Http2(_, between) = &mut self.mode {
            between.begun = true;
            between.dirty = true;
        }
        Poll::Ready(Ok(()))
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

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServeIo<T> {
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
        // The connection's task is awake: if it has been told to give notice and nothing else is to be
        // written, this is where it passes. A notice that cannot be written now is written later.
        if let Poll::Ready(Err(error)) = this.poll_notice(cx) {
            return Poll::Ready(Err(error));
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
        ready!(this.poll_turn(cx))?;
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
        ready!(this.poll_turn(cx))?;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let poll = if bufs.len() > 1 && length <= SMALL {
            // A head and a short body: copied together they go by `send`, which costs the kernel less
            // than `writev` by more than the copy does.
            let mut small = [0; SMALL];
            let mut end = 0;
            for buf in bufs {
                small[end..end + buf.len()].copy_from_slice(buf);
                end += buf.len();
            }
            Pin::new(&mut this.io).poll_write(cx, &small[..end])
        } else {
            Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
        };
        this.wrote(cx, &poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Mode::Http2(_, between) = &mut this.mode {
            between.dirty = false;
            ready!(this.poll_notice(cx))?;
        }
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
        if unread && linger.until.is_none() {
            linger.begin(exchange);
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.io).poll_read(cx, &mut scrap) {
                Poll::Pending if linger.until.is_some() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
                // The peer is gone: there is nobody left to read the answer.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if scrap.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    linger.read += scrap.filled().len();
                    if linger.read > LINGER_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                    // Also where everything seemed to be read: these are requests that were sent behind
                    // the last one that is answered (RFC 9112, 9.6).
                    linger.begin(exchange);
                }
            }
        }
    }
}

impl Linger {
    /// Something came, or is still to come: reads it away for some time, which a silence shortens.
    fn begin(&mut self, exchange: &Exchange) {
        let now = exchange.now();
        let until = *self.until.get_or_insert_with(|| {
            let timed_out = exchange.read_expired() || exchange.write_expired();
            now.after(Some(if timed_out {
                LINGER_AFTER_TIMEOUT
            } else {
                LINGER
            }))
        });
        exchange.linger_until(until.min(now.after(Some(LINGER_STALL))));
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
