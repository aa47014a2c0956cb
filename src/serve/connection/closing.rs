//! The end of an HTTP/1 connection that hyper no longer holds: a last word, and a gentle close.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::raw_head::RawHead;
use crate::events::Closed;
use crate::reply::{Reason, Reply};
use crate::serve::exchange::{Exchange, State};
use crate::serve::state::Conn;
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};
use http::HeaderMap;
use httpdate::HttpDate;

/// How long the peer may take to take the last word: what refuses it, or stands in for the answer of a
/// handler that was cancelled.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

pub(crate) struct Farewell<T> {
    io: ServeIo<T>,
    words: Bytes,
    /// The peer has had its time: it has no more of it to read a refusal than to be sent one.
    refused: bool,
    exchange: Arc<Exchange>,
    deadline: Tick,
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Farewell<T> {
    /// Of a connection whose head, of which this much came, began at `since`, before hyper had it.
    pub(crate) fn parked(io: ServeIo<T>, since: Tick, reason: Reason, read: Bytes) -> Self {
        let (server, conn) = (io.guard.server.clone(), io.conn().clone());
        let exchange = Arc::new(Exchange::new(server, conn, None, false));
        exchange.begin_head(since);
        Farewell::new(io, exchange, Some((reason, read)))
    }

    /// Of a connection whose last request was `exchange`, with the reason to refuse the head of which these
    /// bytes came.
    pub(crate) fn new(
        mut io: ServeIo<T>,
        exchange: Arc<Exchange>,
        refusal: Option<(Reason, Bytes)>,
    ) -> Self {
        let server = &exchange.server;
        let timed_out = matches!(refusal, Some((Reason::HeadTooSlow, _)));
        let words = match refusal {
            Some((reason, read)) => {
                let head = RawHead::new(read);
                head.emit_refused(&exchange, reason);
                last_words(reason, &head)
            }
            None => Bytes::new(),
        };
        let deadline = server.clock.now().after(Some(LAST_WORDS));
        io.set_mode(Mode::closing(exchange.clone()));
        Farewell {
            io,
            words,
            refused: timed_out,
            exchange,
            deadline,
        }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.exchange.conn
    }

    pub(crate) fn why(&self) -> Closed {
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

    /// Says the last word, shuts the write side, reads away what comes.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.words.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.words) {
                Poll::Ready(Ok(length)) if length > 0 => self.words.advance(length),
                // The peer is gone; there is nobody to tell.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
    }
}

/// The refusal as HTTP/1.1 spells it, for a connection that hyper no longer holds.
#[allow(clippy::disallowed_methods)] // costs less than the close that follows
fn last_words(reason: Reason, head: &RawHead) -> Bytes {
    let reply = Reply::new(reason).answer(head.asked(), HeaderMap::new());
    let mut words = format!("HTTP/1.1 {}\r\n", reply.status()).into_bytes();
    for (name, value) in reply.headers() {
        words.extend_from_slice(name.as_str().as_bytes());
        words.extend_from_slice(b": ");
        words.extend_from_slice(value.as_bytes());
        words.extend_from_slice(b"\r\n");
    }
    // RFC 9110, 6.6.1. Written anew each time: it costs less than the close that follows.
    let date = HttpDate::from(SystemTime::now());
    let length = reply.body().len();
    words.extend_from_slice(format!("date: {date}\r\ncontent-length: {length}\r\n\r\n").as_bytes());
    if !head.is_to_head() {
        words.extend_from_slice(reply.body());
    }
    words.into()
}
