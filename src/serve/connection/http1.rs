//! HTTP/1: a connection with a request on it, or one that was quiet only for a moment.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::closing::LAST_WORDS;
use super::raw_head::RawHead;
use crate::events::{Closed, Timeout};
use crate::phase::Phase;
use crate::reply::Reason;
use crate::serve::exchange::{Exchange, ServiceFault, State, Upgraded};
use crate::serve::service::{App, ConnService, Source};
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};

/// How long a warm connection stays with hyper after a response, before it is parked. A connection is
/// warm when its last pause was shorter than this: clients do again what they just did. A cold one is
/// parked at once, so that thousands of connections with a request each never hold hyper's buffers at
/// the same time; if it turns out to be a busy one it has paid for that once.
pub(crate) const PARK_AFTER: Duration = Duration::from_secs(1);

/// A connection in hyper's hands.
pub(crate) struct Http1<T, A: App> {
    /// `None` only while it is taken apart.
    connection: Option<http1::UpgradeableConnection<TokioIo<ServeIo<T>>, ConnService<A>>>,
    exchange: Arc<Exchange>,
    warm: bool,
    drain_seen: bool,
}

/// What becomes of the connection when hyper is done with it.
pub(crate) enum Next<T> {
    /// It is quiet: hold it without hyper.
    Park { io: ServeIo<T>, since: Tick },
    /// A head has begun that hyper had not told of; see [`Http1::set_aside`].
    Resume {
        io: ServeIo<T>,
        since: Tick,
        read: Bytes,
    },
    /// Close it gently, and first refuse the head of which these bytes came.
    Close(ServeIo<T>, Option<(Reason, Bytes)>),
    /// It is over.
    Over(Closed),
}

impl<T, A> Http1<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    /// Takes over a connection whose request began at `since` with the bytes that `io` has ahead.
    pub(crate) fn new(
        mut io: ServeIo<T>,
        app: A,
        since: Tick,
        warm: bool,
        cx: &Context<'_>,
    ) -> Self {
        let server = io.guard.server.clone();
        let exchange = Arc::new(Exchange::new(
            server.clone(),
            io.conn().clone(),
            Some(cx.waker().clone()),
            false,
        ));
        exchange.begin_head(since);
        io.conn().set_activity(Some(exchange.clone()));
        io.set_mode(Mode::http1(exchange.clone()));
        let service = ConnService::new(app, Source::Http1(exchange.clone()));
        let connection = server
            .http1
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        Http1 {
            connection: Some(connection),
            exchange,
            warm,
            drain_seen: false,
        }
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Timer>,
    ) -> Poll<Next<T>> {
        loop {
            self.exchange.begin_poll();
            if self.exchange.server.cutting() {
                return Poll::Ready(self.abort(Closed::Cut));
            }
            if self.exchange.body_open() || self.exchange.state() == State::Discarding {
                self.discard(cx);
            }
            let unwinding = Unwinding(self);
            let Some(connection) = &mut unwinding.0.connection else {
                std::mem::forget(unwinding);
                return Poll::Ready(Next::Over(Closed::Ended));
            };
            let polled = Pin::new(connection).poll(cx);
            std::mem::forget(unwinding);
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(self.ended()),
                Poll::Ready(Err(error)) => return Poll::Ready(self.failed(&error)),
                Poll::Pending => {}
            }
            if self.exchange.has_new_leftover() || self.exchange.call_can_begin() {
                continue;
            }
            if let Some(next) = self.settle() {
                return Poll::Ready(next);
            }
            let clock = &self.exchange.server.clock;
            let now = ready!(timer.as_mut().poll_due(cx, clock, self.deadline()));
            if let Some(next) = self.due(now) {
                return Poll::Ready(next);
            }
        }
    }

    /// hyper has done what there was to do: is the connection still its business?
    fn settle(&mut self) -> Option<Next<T>> {
        let exchange = &self.exchange;
        let draining = exchange.server.lifecycle.phase() >= Phase::Draining;
        let held = exchange.holds_call();
        match exchange.state() {
            // Also where it was not known yet when the answer's head was sent.
            State::Idle if exchange.must_close() => Some(self.close(exchange.conn.why())),
            State::Idle if held => None,
            State::Idle if !self.warm || draining || exchange.unclear() => Some(self.set_aside()),
            State::Head if draining && !self.drain_seen => {
                self.drain_seen = true;
                let window = Some(exchange.server.limits.drain_window);
                exchange.hasten_head(exchange.server.clock.now().after(window));
                None
            }
            // The answer is out and this was its last request; hyper would wait for the rest of the body.
            State::Discarding if (draining && !held) || exchange.must_close() => {
                Some(self.close(exchange.conn.why()))
            }
            _ => None,
        }
    }

    /// The deadline in force.
    fn deadline(&self) -> Tick {
        let exchange = &self.exchange;
        match exchange.state() {
            State::Idle => {
                let timeouts = &exchange.server.timeouts;
                let park = [timeouts.effective_idle(), timeouts.effective_read_header()]
                    .into_iter()
                    .flatten()
                    .fold(PARK_AFTER, Duration::min);
                exchange.began().after(Some(park))
            }
            State::Head | State::Lingering => exchange.header_deadline(),
            State::Handler | State::Responding => {
                exchange.next_deadline().min(exchange.look_deadline())
            }
            State::Discarding => exchange.next_deadline().min(exchange.header_deadline()),
        }
    }

    /// The deadline in force has come.
    fn due(&mut self, now: Tick) -> Option<Next<T>> {
        let exchange = self.exchange.clone();
        let state = exchange.state();
        match state {
            State::Idle => return Some(self.set_aside()),
            State::Lingering => return Some(Next::Over(exchange.conn.why())),
            State::Head => {
                exchange.tell_timeout(Timeout::ReadHeader);
                let why = Closed::Timeout(Timeout::ReadHeader);
                exchange.conn.will_end(why);
                return Some(match self.take_io() {
                    Some((io, read)) => Next::Close(io, Some((Reason::HeadTooSlow, read))),
                    None => Next::Over(why),
                });
            }
            State::Discarding if exchange.header_deadline() <= now => {
                exchange.tell_timeout(Timeout::Idle);
                return Some(self.close(Closed::Timeout(Timeout::Idle)));
            }
            State::Handler | State::Responding => exchange.look_if_due(now),
            State::Discarding => {}
        }
        match exchange.expired(now, None)? {
            kind if kind.ends_response() => {
                // What stands in for the answer was not taken either: the first deadline is why.
                if exchange.write_expired() {
                    return Some(self.abort(exchange.conn.why()));
                }
                exchange.conn.will_end(Closed::Timeout(kind));
                if state == State::Handler {
                    exchange.expire_write(kind, now, LAST_WORDS);
                    return None;
                }
                exchange.tell_timeout(kind);
                Some(self.abort(Closed::Timeout(kind)))
            }
            kind => {
                exchange.expire_read(kind, now);
                (state == State::Discarding).then(|| self.close(Closed::Timeout(kind)))
            }
        }
    }

    /// Reads away what nobody read of the request body.
    fn discard(&mut self, cx: &mut Context<'_>) {
        let exchange = &self.exchange;
        if let Some(mut leftover) = exchange.take_leftover() {
            if leftover.fits() == Some(false) {
                exchange.abandon_leftover(&leftover);
            } else if exchange
                .poll_discard(&mut leftover, cx, &mut false)
                .is_pending()
            {
                // Back where the answer finds it, which may have to say what becomes of the connection.
                exchange.discard_later(leftover);
                return;
            }
        }
        if exchange.state() == State::Discarding && !exchange.body_open() {
            exchange.become_idle();
        }
    }

    /// hyper is done: the connection ended, or it was handed over to who upgraded it.
    fn ended(&mut self) -> Next<T> {
        let exchange = &self.exchange;
        if exchange.upgraded() {
            let upgraded = Arc::new(Upgraded(exchange.known()));
            exchange.conn.set_activity(Some(upgraded));
        }
        Next::Over(exchange.conn.why())
    }

    /// hyper could not go on. A head that it could not parse is refused here: it may have answered by itself,
    /// which the transport has held back.
    fn failed(&mut self, error: &hyper::Error) -> Next<T> {
        if self.exchange.client_gone() {
            return Next::Over(Closed::ClientGone);
        }
        self.exchange.conn.will_end(Closed::Error);
        if !error.is_parse() {
            // A body that failed, for one: where its end is the connection's it must not look whole.
            return self.abort(Closed::Error);
        }
        let Some((io, read)) = self.take_io() else {
            return Next::Over(Closed::Error);
        };
        let limit = io.guard.server.limits.max_header_bytes;
        let status = io.refused();
        let reason = RawHead::new(read.clone()).reason(status.unwrap_or_default(), limit);
        match self.exchange.state() {
            State::Idle | State::Head => {
                // Nothing of it is with the service: the close lingers as over any unread request.
                self.exchange.begin_head(self.exchange.now());
                Next::Close(io, Some((reason, read)))
            }
            // The answer before it is still being written, and hyper has put its own behind it.
            _ => {
                RawHead::new(read).emit_refused(&self.exchange, reason);
                Next::Over(Closed::Error)
            }
        }
    }

    fn take_io(&mut self) -> Option<(ServeIo<T>, Bytes)> {
        let parts = self.connection.take()?.into_parts()?;
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// Takes a quiet connection out of hyper's hands, and nothing that it had read is lost: the
    /// beginning of a request that came along with the one before is in hyper's buffer, where it could
    /// not be seen.
    fn set_aside(&mut self) -> Next<T> {
        let since = self.exchange.began();
        let Some((mut io, mut read)) = self.take_io() else {
            return Next::Over(Closed::Ended);
        };
        io.recount_empty_lines();
        match io.empty_lines(&read) {
            Some(length) if length == read.len() => Next::Park { io, since },
            Some(length) => {
                read.advance(length);
                Next::Resume { io, since, read }
            }
            None => self.malformed(io),
        }
    }

    /// What came in a request's place is none.
    fn malformed(&self, io: ServeIo<T>) -> Next<T> {
        // Half a head, and so not read to its end: the close lingers.
        self.exchange.begin_head(self.exchange.now());
        self.exchange.conn.will_end(Closed::Error);
        Next::Close(io, Some((Reason::Malformed, Bytes::new())))
    }

    /// Closes without a word, but gently: what was answered can still be read.
    fn close(&mut self, why: Closed) -> Next<T> {
        self.exchange.conn.will_end(why);
        match self.take_io() {
            Some((io, _)) => Next::Close(io, None),
            None => Next::Over(why),
        }
    }

    /// Ends at once; a response that was being sent is marked as cut short.
    fn abort(&mut self, why: Closed) -> Next<T> {
        self.exchange.conn.will_end(why);
        let cut_short = matches!(self.exchange.state(), State::Handler | State::Responding);
        if let Some((io, _)) = self.take_io() {
            if cut_short {
                io.reset_on_drop();
            }
        }
        Next::Over(why)
    }
}

/// What a panic of the service, or of its body, leaves behind: the response is marked as cut short.
struct Unwinding<'a, T, A>(&'a mut Http1<T, A>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App;

impl<T, A> Drop for Unwinding<'_, T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    /// Dropped by a panic only: it is forgotten on the way that has none.
    fn drop(&mut self) {
        self.0.exchange.tell_fault(ServiceFault::Panic);
        drop(self.0.abort(Closed::Panicked));
    }
}
