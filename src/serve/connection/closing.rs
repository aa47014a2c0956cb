//! The end of an HTTP/1 connection that hyper no longer holds: a refusal, if any, and a lingering close.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::raw_head::RawHead;
use crate::events::CloseReason;
use crate::reply::{RefusalReason, Reply};
use crate::serve::config::fixed::REFUSAL_GRACE;
use crate::serve::exchange::{Exchange, State};
use crate::serve::state::Conn;
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};
use http::HeaderMap;
use httpdate::HttpDate;

pub(crate) struct Closing<T> {
    io: ServeIo<T>,
    unsent: Bytes,
    /// `true` after a timeout: the peer gets no more time to read the refusal than to receive it.
    refused: bool,
    exchange: Arc<Exchange>,
    deadline: Tick,
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Closing<T> {
    /// Closes a connection whose head began at `since`, before hyper had it; `read` is the part that came.
    pub(crate) fn parked(io: ServeIo<T>, since: Tick, reason: RefusalReason, read: Bytes) -> Self {
        let (server, conn) = (io.guard.server.clone(), io.conn().clone());
        let exchange = Arc::new(Exchange::new(server, conn, None, false));
        exchange.begin_head(since);
        Closing::new(io, exchange, Some((reason, read)))
    }

    /// Closes a connection whose last request was `exchange`. `refusal` is the reason to refuse the next head and the
    /// bytes that came of it.
    pub(crate) fn new(
        mut io: ServeIo<T>,
        exchange: Arc<Exchange>,
        refusal: Option<(RefusalReason, Bytes)>,
    ) -> Self {
        let server = &exchange.server;
        let timed_out = matches!(refusal, Some((RefusalReason::HeadTooSlow, _)));
        let unsent = match refusal {
            Some((reason, read)) => {
                let head = RawHead::new(read);
                head.emit_refused(&exchange, reason);
                refusal_bytes(reason, &head)
            }
            None => Bytes::new(),
        };
        let deadline = server.clock.now().after(Some(REFUSAL_GRACE));
        io.set_mode(Mode::closing(exchange.clone()));
        Closing {
            io,
            unsent,
            refused: timed_out,
            exchange,
            deadline,
        }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.exchange.conn
    }

    pub(crate) fn why(&self) -> CloseReason {
        self.exchange.conn.why()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Timer>) -> Poll<()> {
        let exchange = self.exchange.clone();
        let server = &exchange.server;
        exchange.begin_poll();
        if server.cutting() || self.close(cx).is_ready() {
            return Poll::Ready(());
        }
        let deadline = match exchange.state() {
            State::Lingering if self.refused => exchange.header_deadline().min(self.deadline),
            State::Lingering => exchange.header_deadline(),
            _ => self.deadline,
        };
        timer.poll_due(cx, &server.clock, deadline).map(drop)
    }

    /// Writes the refusal, shuts down the write side and discards the rest of the input.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(length)) if length > 0 => self.unsent.advance(length),
                // The peer is gone: no one is left to refuse.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
    }
}

/// Encodes the refusal as HTTP/1.1, for a connection that hyper no longer holds.
#[allow(clippy::disallowed_methods)] // costs less than the close that follows
fn refusal_bytes(reason: RefusalReason, head: &RawHead) -> Bytes {
    let reply = Reply::new(reason).answer(head.reply_format(), HeaderMap::new());
    let mut bytes = format!("HTTP/1.1 {}\r\n", reply.status()).into_bytes();
    for (name, value) in reply.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    // RFC 9110, 6.6.1. Formatted each time: it costs less than the close that follows.
    let date = HttpDate::from(SystemTime::now());
    let length = reply.body().len();
    bytes.extend_from_slice(format!("date: {date}\r\ncontent-length: {length}\r\n\r\n").as_bytes());
    if !head.is_to_head() {
        bytes.extend_from_slice(reply.body());
    }
    bytes.into()
}
