//! HTTP/1 connections with a request on them, or that have been quiet only for a moment.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::events::{CloseReason, TimeoutKind};
use crate::phase::Phase;
use crate::reply::RefusalReason;
use crate::serve::config::fixed::{PARK_AFTER, REFUSAL_GRACE};
use crate::serve::exchange::{Exchange, ServiceFault, State};
use crate::serve::service::{App, ConnService, Source};
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};

/// A connection that hyper drives.
pub(crate) struct Http1<T, A: App> {
    /// `None` only while it is taken apart.
    pub(super) connection:
        Option<http1::UpgradeableConnection<TokioIo<ServeIo<T>>, ConnService<A>>>,
    pub(super) exchange: Arc<Exchange>,
    warm: bool,
    drain_seen: bool,
}

/// The outcome when hyper is done with the connection.
pub(crate) enum Http1Outcome<T> {
    /// The connection is quiet: hold it without hyper.
    Park { io: ServeIo<T>, since: Tick },
    /// A head has begun that hyper has not reported yet; see [`Http1::unwrap_io`].
    Resume {
        io: ServeIo<T>,
        since: Tick,
        read: Bytes,
    },
    /// Close gently, and first refuse the head of which these bytes came.
    Close(ServeIo<T>, Option<(RefusalReason, Bytes)>),
    /// The connection has ended.
    Over(CloseReason),
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
    ) -> Poll<Http1Outcome<T>> {
        loop {
            self.exchange.begin_poll();
            if self.exchange.server.cutting() {
                return Poll::Ready(self.abort(CloseReason::Cut));
            }
            if self.exchange.body_open() || self.exchange.state() == State::Discarding {
                self.discard(cx);
            }
            let unwinding = Unwinding(self);
            let Some(connection) = &mut unwinding.0.connection else {
                std::mem::forget(unwinding);
                return Poll::Ready(Http1Outcome::Over(CloseReason::Ended));
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
            if let Some(next) = self.after_poll() {
                return Poll::Ready(next);
            }
            let clock = &self.exchange.server.clock;
            let now = ready!(timer.as_mut().poll_due(cx, clock, self.deadline()));
            if let Some(next) = self.on_deadline(now) {
                return Poll::Ready(next);
            }
        }
    }

    /// Decides, after hyper has done all it could, whether the connection stays with hyper.
    fn after_poll(&mut self) -> Option<Http1Outcome<T>> {
        let exchange = &self.exchange;
        let draining = exchange.server.lifecycle.phase() >= Phase::Draining;
        let held = exchange.holds_call();
        match exchange.state() {
            // Also covers a reason to close that came after the response's head was sent.
            State::Idle if exchange.must_close() => Some(self.close(exchange.conn.why())),
            State::Idle if held => None,
            State::Idle if !self.warm || draining || exchange.unclear() => Some(self.unwrap_io()),
            State::Head if draining && !self.drain_seen => {
                self.drain_seen = true;
                let window = Some(exchange.server.limits.drain_window);
                exchange.hasten_head(exchange.server.clock.now().after(window));
                None
            }
            // The response is sent and this was the last request; hyper would wait for the rest of the body.
            State::Discarding if (draining && !held) || exchange.must_close() => {
                Some(self.close(exchange.conn.why()))
            }
            _ => None,
        }
    }

    /// Returns the deadline in force.
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

    /// Acts on the deadline in force once it has passed.
    fn on_deadline(&mut self, now: Tick) -> Option<Http1Outcome<T>> {
        let exchange = self.exchange.clone();
        let state = exchange.state();
        match state {
            State::Idle => return Some(self.unwrap_io()),
            State::Lingering => return Some(Http1Outcome::Over(exchange.conn.why())),
            State::Head => {
                exchange.emit_timeout(TimeoutKind::ReadHeader);
                let why = CloseReason::Timeout(TimeoutKind::ReadHeader);
                exchange.conn.set_close_reason(why);
                return Some(match self.take_io() {
                    Some((io, read)) => {
                        Http1Outcome::Close(io, Some((RefusalReason::HeadTooSlow, read)))
                    }
                    None => Http1Outcome::Over(why),
                });
            }
            State::Discarding if exchange.header_deadline() <= now => {
                exchange.emit_timeout(TimeoutKind::Idle);
                return Some(self.close(CloseReason::Timeout(TimeoutKind::Idle)));
            }
            State::Handler | State::Responding => exchange.look_if_due(now),
            State::Discarding => {}
        }
        match exchange.expired(now, None)? {
            kind if kind.ends_response() => {
                // The response sent in place of the handler's was not taken either: the first deadline is the reason.
                if exchange.write_expired() {
                    return Some(self.abort(exchange.conn.why()));
                }
                exchange.conn.set_close_reason(CloseReason::Timeout(kind));
                if state == State::Handler {
                    exchange.expire_write(kind, now, REFUSAL_GRACE);
                    return None;
                }
                exchange.emit_timeout(kind);
                Some(self.abort(CloseReason::Timeout(kind)))
            }
            kind => {
                exchange.expire_read(kind, now);
                (state == State::Discarding).then(|| self.close(CloseReason::Timeout(kind)))
            }
        }
    }

    /// Discards the unread rest of the request body.
    fn discard(&mut self, cx: &mut Context<'_>) {
        let exchange = &self.exchange;
        if let Some(mut leftover) = exchange.take_leftover() {
            if leftover.fits() == Some(false) {
                exchange.abandon_leftover(&leftover);
            } else if exchange
                .poll_discard(&mut leftover, cx, &mut false)
                .is_pending()
            {
                // Back where the response finds it, which may have to decide the connection's fate.
                exchange.discard_later(leftover);
                return;
            }
        }
        if exchange.state() == State::Discarding && !exchange.body_open() {
            exchange.become_idle();
        }
    }
}

/// A guard for panics of the service or of its body: it marks the response as cut short.
struct Unwinding<'a, T, A>(&'a mut Http1<T, A>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App;

impl<T, A> Drop for Unwinding<'_, T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    /// Dropped by a panic only: the regular path forgets it.
    fn drop(&mut self) {
        self.0.exchange.emit_fault(ServiceFault::Panic);
        drop(self.0.abort(CloseReason::Panicked));
    }
}
