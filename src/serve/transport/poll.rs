//! The transport as hyper polls it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::{Mode, ServeIo};
use crate::serve::exchange::State;

/// The maximum length that is written as one piece rather than as several.
const SMALL: usize = 1024;

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> AsyncRead for ServeIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_cut()?;
        if let Mode::Http2(streams, wire) = &mut this.mode {
            return wire.poll_read(streams, &mut this.ahead, &mut this.io, cx, buf);
        }
        if !this.ahead.is_empty() {
            let before = buf.filled().len();
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            if let Mode::Http1(exchange, kept) = &mut this.mode {
                kept.reading = false;
                let between_requests = exchange.state() == State::Idle;
                if between_requests && !this.begins_request(buf, before) {
                    return Poll::Pending;
                }
            }
            return Poll::Ready(Ok(()));
        }
        if this.fin_seen {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.io).poll_read(cx, buf);
        match (&mut this.mode, &poll) {
            (Mode::Http1(_, kept), Poll::Ready(Ok(()))) if buf.filled().len() == before => {
                this.fin_seen = buf.remaining() > 0;
                kept.linger.saw_end();
            }
            (Mode::Http1(exchange, kept), Poll::Ready(Ok(()))) => {
                kept.reading = false;
                let between_requests = exchange.state() == State::Idle;
                if between_requests && !this.begins_request(buf, before) {
                    return Poll::Pending;
                }
            }
            (Mode::Http1(_, kept), Poll::Pending) => kept.reading = true,
            (Mode::Http1(exchange, _), Poll::Ready(Err(error))) => exchange.failed(error),
            _ => {}
        }
        this.waits(poll, |conn| conn.set_reader(cx.waker()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for ServeIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx))?;
        if let Mode::Http1(exchange, kept) = &mut this.mode {
            if kept.takes(exchange, buf) {
                return Poll::Ready(Ok(buf.len()));
            }
        }
        if let Some(settled) = this.skip_written(buf) {
            return settled;
        }
        let poll = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(&poll);
        this.waits(poll, |conn| conn.set_writer(cx.waker()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx))?;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if let Mode::Http1(exchange, kept) = &mut this.mode {
            if kept.takes(exchange, bufs.first().map_or(&[], |first| first)) {
                return Poll::Ready(Ok(length));
            }
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        if let Some(settled) = first.and_then(|first| this.skip_written(first)) {
            return settled;
        }
        let poll = match &mut this.mode {
            // A head and a short body: copied together they go by `send`, which saves the kernel more over `writev`
            // than the copy costs.
            Mode::Http1(_, kept) if bufs.len() > 1 && length <= SMALL => {
                kept.small.clear();
                bufs.iter()
                    .for_each(|buf| kept.small.extend_from_slice(buf));
                Pin::new(&mut this.io).poll_write(cx, &kept.small)
            }
            _ => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        };
        this.wrote(&poll);
        this.waits(poll, |conn| conn.set_writer(cx.waker()))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Mode::Http2(streams, wire) = &mut this.mode {
            ready!(wire.poll_flushed(streams, &mut this.io, cx))?;
        }
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.waits(flushed, |conn| conn.set_writer(cx.waker())))?;
        // hyper flushes the transport only when its own buffer is empty: the response's last byte
        // has been handed over.
        if let Mode::Http1(exchange, kept) = &mut this.mode {
            if exchange.flushed() && this.fin_seen {
                kept.watch.over(exchange);
            }
        }
        this.note_upgrade();
        this.watch(cx)?;
        Poll::Ready(Ok(()))
    }

    /// Closes so that the peer can read the response: the write side first; if the request was not read to its end,
    /// remaining input is discarded for a bounded time. A socket that is closed with unread bytes in it resets, and the
    /// reset destroys the response.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.note_upgrade();
        match &mut this.mode {
            // Not yet: the refusal is still to be sent.
            Mode::Http1(_, kept) if kept.refused.is_some() => return Poll::Ready(Ok(())),
            Mode::Http1(exchange, kept) => kept.linger.start(exchange),
            Mode::Http2(streams, wire) => {
                return wire.poll_close(streams, &mut this.fin_sent, &mut this.io, cx);
            }
            Mode::Parked | Mode::Upgraded => {}
        }
        if !this.fin_sent {
            let shut = Pin::new(&mut this.io).poll_shutdown(cx);
            ready!(this.waits(shut, |conn| conn.set_writer(cx.waker())))?;
            this.fin_sent = true;
        }
        let Mode::Http1(exchange, kept) = &mut this.mode else {
            return Poll::Ready(Ok(()));
        };
        if !this.ahead.is_empty() {
            this.ahead = Bytes::new();
            kept.linger.found_more(exchange);
        }
        kept.linger.poll(exchange, &mut this.io, cx)
    }
}
