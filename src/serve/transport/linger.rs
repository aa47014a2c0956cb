//! A lingering close: the write side is shut, remaining input is discarded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::has_budget_remaining;

use crate::serve::config::fixed::{LINGER, LINGER_AFTER_TIMEOUT, LINGER_STALL};
use crate::serve::exchange::{Exchange, State};
use crate::serve::time::Tick;
use crate::serve::transport::may_be_unread;

/// The maximum number of bytes that are discarded.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// The state of a lingering close.
#[derive(Default)]
pub(crate) struct Linger {
    until: Option<Tick>,
    read: usize,
    saw_end: bool,
    /// `true` once there was a last look for input.
    looked: bool,
    /// `true` if the request was not read to its end; known when the close begins.
    unread: Option<bool>,
}

impl Linger {
    /// Records that the peer has shut its sending side: there is nothing to wait for.
    pub(crate) fn saw_end(&mut self) {
        self.saw_end = true;
    }

    /// Returns `true` if the close has waited for the peer, or need not.
    pub(crate) fn is_over(&self) -> bool {
        self.saw_end || self.until.is_some()
    }

    /// Starts the close: from here on the connection is lingering, also while the transport takes its time to shut the
    /// write side (TLS), and has a deadline for that.
    pub(crate) fn start(&mut self, exchange: &Exchange) {
        if self.unread.is_some() {
            return;
        }
        self.unread = Some(match exchange.state() {
            State::Idle => false,
            State::Responding => exchange.body_open(),
            State::Head | State::Handler | State::Discarding | State::Lingering => true,
        });
        exchange.linger_until(exchange.now().after(Some(LINGER_STALL)));
    }

    /// Records that unanswered input was read already: more may follow.
    pub(crate) fn found_more(&mut self, exchange: &Exchange) {
        self.begin(exchange);
    }

    /// Discards the available input after the write side is shut; if the request was not read to its end, later input
    /// too.
    pub(crate) fn poll<T: AsyncRead + Unpin + 'static>(
        &mut self,
        exchange: &Exchange,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.saw_end {
            return Poll::Ready(Ok(()));
        }
        if self.unread == Some(true) && self.until.is_none() {
            self.begin(exchange);
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *io).poll_read(cx, &mut scrap) {
                Poll::Pending if self.until.is_some() => return Poll::Pending,
                // The socket was not read: the task's cooperative budget is spent, and it is woken for a new one.
                Poll::Pending if !has_budget_remaining() => return Poll::Pending,
                Poll::Pending if may_be_unread(io) => {
                    // Due now: the timer gives tokio the time to notice.
                    if !std::mem::replace(&mut self.looked, true) {
                        exchange.linger_until(exchange.now());
                    }
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Ready(Ok(())),
                // The peer is gone: no one is left to read the response.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if scrap.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    self.read += scrap.filled().len();
                    if self.read > LINGER_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                    // Also where everything seemed to be read: these are requests that were sent behind
                    // the last one that is answered (RFC 9112, 9.6).
                    self.begin(exchange);
                }
            }
        }
    }

    /// Begins to discard input for some time, which a silence shortens: some came, or is still to come.
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;
    use tokio::task::coop::consume_budget;

    use super::*;
    use crate::conn_info::ConnInfo;
    use crate::events::EventSink;
    use crate::phase::Lifecycle;
    use crate::serve::state::{Conn, Shared};
    use crate::serve::{Limits, Timeouts};
    use std::time::Duration;

    #[tokio::test]
    async fn a_spent_budget_is_not_taken_for_silence() {
        let (timeouts, limits) = (Timeouts::default(), Limits::default());
        let server = Arc::new(Shared::new(
            timeouts,
            limits,
            Lifecycle::new(),
            EventSink::none(),
        ));
        let conn = Arc::new(Conn::new(ConnInfo::default(), server.clock.now(), 0));
        let exchange = Exchange::new(server, conn, None, false);
        let (mut client, mut io) = tokio::io::duplex(64);
        client.write_all(b"unread").await.unwrap();
        let mut linger = Linger::default();
        linger.start(&exchange);
        let mut first = true;
        let poll = poll_fn(|cx| {
            while first && has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            let poll = linger.poll(&exchange, &mut io, cx);
            if std::mem::take(&mut first) {
                assert!(poll.is_pending(), "it was not looked at");
                return Poll::Pending;
            }
            Poll::Ready(poll)
        });
        // Woken for a new budget, it reads, and waits for more.
        let poll = tokio::time::timeout(Duration::from_secs(5), poll).await;
        assert!(poll.expect("woken").is_pending());
        assert_eq!(linger.read, 6);
    }
}
