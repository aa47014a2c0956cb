//! Parked connections: they wait for their first byte, or have been quiet for a while. A parked connection has no hyper
//! and no buffers, only the transport, 24 bytes and a deadline.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::events::{CloseReason, Event, RequestInfo, TimeoutKind};
use crate::phase::Phase;
use crate::reply::RefusalReason;
use crate::serve::config::Protocols;
use crate::serve::config::fixed::PARK_AFTER;
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo, may_be_unread};

/// The connection preface of an HTTP/2 client (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection without hyper.
pub(crate) struct Parked<T> {
    /// `None` once it has been taken.
    io: Option<ServeIo<T>>,
    bytes: [u8; PREFACE.len()],
    length: u8,
    /// `true` until the first request.
    fresh: bool,
    /// `true` if the client has sent empty lines, as no HTTP/2 client does.
    empty_lines: bool,
    /// The beginning of the wait: the accept, the flush of the last response, or the first byte of a head.
    since: Tick,
    deadline: Tick,
    drain_seen: bool,
}

/// The outcome when a parked connection wakes.
pub(crate) enum ParkedOutcome<T> {
    Http1 {
        io: ServeIo<T>,
        since: Tick,
        warm: bool,
    },
    Http2(ServeIo<T>),
    /// Half a head came and the rest was late, or the input is not a head.
    Refused {
        io: ServeIo<T>,
        since: Tick,
        reason: RefusalReason,
        read: Bytes,
    },
    Over(CloseReason),
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Parked<T> {
    /// Parks a connection that has just been accepted.
    pub(crate) fn fresh(io: ServeIo<T>) -> Self {
        let since = io.conn().accepted;
        let deadline = since.after(io.guard.server.timeouts.effective_read_header());
        Parked::new(io, true, since, deadline)
    }

    /// Parks a connection that has been quiet since `since`.
    pub(crate) fn idle(io: ServeIo<T>, since: Tick) -> Self {
        let deadline = since.after(io.guard.server.timeouts.effective_idle());
        Parked::new(io, false, since, deadline)
    }

    fn new(mut io: ServeIo<T>, fresh: bool, since: Tick, deadline: Tick) -> Self {
        io.set_mode(Mode::Parked);
        io.conn().set_activity(None);
        Parked {
            io: Some(io),
            bytes: [0; PREFACE.len()],
            length: 0,
            fresh,
            empty_lines: false,
            since,
            deadline,
            drain_seen: false,
        }
    }

    /// Registers this task, so that the server wakes it when the phase changes.
    pub(crate) fn register(&self, waker: &Waker) {
        if let Some(io) = &self.io {
            io.conn().set_reader(waker);
        }
    }

    /// Records the close reason.
    pub(crate) fn end(&self, why: CloseReason) -> CloseReason {
        if let Some(io) = &self.io {
            io.conn().set_close_reason(why);
        }
        why
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Timer>,
    ) -> Poll<ParkedOutcome<T>> {
        loop {
            let Some(io) = &mut self.io else {
                return Poll::Ready(ParkedOutcome::Over(CloseReason::Ended));
            };
            let server = io.guard.server.clone();
            if server.cutting() {
                return Poll::Ready(ParkedOutcome::Over(CloseReason::Cut));
            }
            // Read before any decision: input that has arrived is answered.
            let length = usize::from(self.length);
            let mut buf = ReadBuf::new(&mut self.bytes[length..]);
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                Poll::Ready(Err(_)) => return Poll::Ready(ParkedOutcome::Over(CloseReason::Error)),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Poll::Ready(ParkedOutcome::Over(CloseReason::Ended));
                }
                Poll::Ready(Ok(())) => {
                    let mut came = buf.filled().len();
                    if length == 0 {
                        // Empty lines are not a request, and not a sign of life either.
                        let Some(skipped) = io.empty_lines(&self.bytes[..came]) else {
                            return Poll::Ready(self.malformed());
                        };
                        self.empty_lines |= skipped > 0;
                        self.bytes.copy_within(skipped..came, 0);
                        came -= skipped;
                        if came == 0 {
                            continue;
                        }
                    }
                    self.length += u8::try_from(came).unwrap_or_default();
                    if let Some(woken) = self.choose() {
                        return Poll::Ready(woken);
                    }
                    continue;
                }
                Poll::Pending => {}
            }
            if server.lifecycle.phase() >= Phase::Draining {
                if !self.fresh && self.length == 0 {
                    if server.closing_idle() {
                        if !may_be_unread(io.get_ref()) {
                            return Poll::Ready(ParkedOutcome::Over(CloseReason::Drained));
                        }
                        // Due now: the timer gives tokio the time to notice.
                        self.deadline = self.deadline.min(server.clock.now());
                    }
                    io.guard.release();
                } else if !self.drain_seen {
                    self.drain_seen = true;
                    let window = Some(server.limits.drain_window);
                    self.deadline = self.deadline.min(server.clock.now().after(window));
                }
            }
            ready!(timer.as_mut().poll_due(cx, &server.clock, self.deadline));
            return Poll::Ready(self.expire());
        }
    }

    /// Chooses the protocol by the first bytes; `None` while both are possible.
    fn choose(&mut self) -> Option<ParkedOutcome<T>> {
        let bytes = &self.bytes[..usize::from(self.length)];
        let could_be_http2 = self.fresh && !self.empty_lines && PREFACE.starts_with(bytes);
        if could_be_http2 && bytes.len() < PREFACE.len() {
            return None;
        }
        let spoken = match self.io.as_ref()?.guard.server.protocols {
            Protocols::Both => true,
            Protocols::Http1 => !could_be_http2,
            Protocols::Http2 => could_be_http2,
        };
        if !spoken {
            return Some(self.malformed());
        }
        let mut io = self.io.take()?;
        io.guard.hold();
        io.rewind(Bytes::copy_from_slice(bytes));
        Some(if could_be_http2 {
            ParkedOutcome::Http2(io)
        } else {
            let now = io.guard.server.clock.now();
            let warm = !self.fresh && now.since(self.since) < PARK_AFTER;
            let since = if self.fresh { self.since } else { now };
            ParkedOutcome::Http1 { io, since, warm }
        })
    }

    fn malformed(&mut self) -> ParkedOutcome<T> {
        let Some(io) = self.io.take() else {
            return ParkedOutcome::Over(CloseReason::Ended);
        };
        io.conn().set_close_reason(CloseReason::Error);
        ParkedOutcome::Refused {
            since: io.guard.server.clock.now(),
            io,
            reason: RefusalReason::Malformed,
            read: self.read(),
        }
    }

    /// Returns the part of a head that has come.
    fn read(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes[..usize::from(self.length)])
    }

    fn expire(&mut self) -> ParkedOutcome<T> {
        let Some(io) = self.io.take() else {
            return ParkedOutcome::Over(CloseReason::Ended);
        };
        let server = &io.guard.server;
        let draining = server.lifecycle.phase() >= Phase::Draining;
        if self.length == 0 && draining && (self.fresh || server.closing_idle()) {
            return ParkedOutcome::Over(CloseReason::Drained);
        }
        let kind = if self.length > 0 || self.fresh {
            TimeoutKind::ReadHeader
        } else {
            TimeoutKind::Idle
        };
        let request = RequestInfo::from_peer(io.conn().info.peer);
        server.events.emit(|| Event::Timeout { kind, request });
        io.conn().set_close_reason(CloseReason::Timeout(kind));
        if self.length > 0 {
            let read = self.read();
            ParkedOutcome::Refused {
                io,
                since: self.since,
                reason: RefusalReason::HeadTooSlow,
                read,
            }
        } else {
            ParkedOutcome::Over(CloseReason::Timeout(kind))
        }
    }
}
