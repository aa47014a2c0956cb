//! The ends of hyper's time with an HTTP/1 connection: it is parked, resumed, closed or over.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::http1::{Http1, Http1Outcome};
use super::raw_head::RawHead;
use crate::events::CloseReason;
use crate::reply::RefusalReason;
use crate::serve::exchange::{State, Upgraded};
use crate::serve::service::App;
use crate::serve::transport::ServeIo;

impl<T, A> Http1<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    /// Handles hyper's regular end: the connection is closed, or it was handed over to the user of an upgrade.
    pub(super) fn ended(&mut self) -> Http1Outcome<T> {
        let exchange = &self.exchange;
        let why = exchange.conn.why();
        if exchange.upgraded() {
            let upgraded = Arc::new(Upgraded(exchange.known()));
            exchange.conn.set_activity(Some(upgraded));
            return Http1Outcome::Over(why);
        }
        match self.take_io() {
            // hyper has read requests behind the last one: others may be on their way (RFC 9112, 9.6).
            Some((mut io, read)) if !read.is_empty() && !io.has_lingered() => {
                io.rewind(read);
                Http1Outcome::Close(io, None)
            }
            _ => Http1Outcome::Over(why),
        }
    }

    /// Handles hyper's failure. A head that hyper could not parse is refused here: hyper may have written its own
    /// response, which the transport has held back.
    pub(super) fn failed(&mut self, error: &hyper::Error) -> Http1Outcome<T> {
        if self.exchange.client_gone() {
            return Http1Outcome::Over(CloseReason::ClientGone);
        }
        self.exchange.conn.set_close_reason(CloseReason::Error);
        if !error.is_parse() {
            // The response body failed, for one: where the connection's end is the body's, it must not look complete.
            return self.abort(CloseReason::Error);
        }
        let Some((io, read)) = self.take_io() else {
            return Http1Outcome::Over(CloseReason::Error);
        };
        let limit = io.guard.server.limits.max_header_bytes;
        let status = io.refused();
        let reason = RawHead::new(read.clone()).reason(status.unwrap_or_default(), limit);
        match self.exchange.state() {
            State::Idle | State::Head => {
                // The service has seen none of it: the close lingers as over any unread request.
                self.exchange.begin_head(self.exchange.now());
                Http1Outcome::Close(io, Some((reason, read)))
            }
            // The previous response is still being written, and hyper has queued its own behind it.
            _ => {
                RawHead::new(read).emit_refused(&self.exchange, reason);
                Http1Outcome::Over(CloseReason::Error)
            }
        }
    }

    pub(super) fn take_io(&mut self) -> Option<(ServeIo<T>, Bytes)> {
        let parts = self.connection.take()?.into_parts()?;
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// Takes a quiet connection back from hyper without losing bytes: the beginning of a pipelined request may be in
    /// hyper's buffer, where it could not be seen.
    pub(super) fn unwrap_io(&mut self) -> Http1Outcome<T> {
        let since = self.exchange.began();
        let Some((mut io, mut read)) = self.take_io() else {
            return Http1Outcome::Over(CloseReason::Ended);
        };
        io.recount_empty_lines();
        match io.empty_lines(&read) {
            Some(length) if length == read.len() => Http1Outcome::Park { io, since },
            Some(length) => {
                read.advance(length);
                Http1Outcome::Resume { io, since, read }
            }
            None => self.malformed(io),
        }
    }

    /// Refuses input that is not a request.
    fn malformed(&self, io: ServeIo<T>) -> Http1Outcome<T> {
        // Half a head, and so an unread request: the close lingers.
        self.exchange.begin_head(self.exchange.now());
        self.exchange.conn.set_close_reason(CloseReason::Error);
        Http1Outcome::Close(io, Some((RefusalReason::Malformed, Bytes::new())))
    }

    /// Closes gently, without a refusal: the client can still read the response.
    pub(super) fn close(&mut self, why: CloseReason) -> Http1Outcome<T> {
        self.exchange.conn.set_close_reason(why);
        match self.take_io() {
            Some((io, _)) => Http1Outcome::Close(io, None),
            None => Http1Outcome::Over(why),
        }
    }

    /// Ends at once; a response that is being sent is marked as cut short.
    pub(super) fn abort(&mut self, why: CloseReason) -> Http1Outcome<T> {
        self.exchange.conn.set_close_reason(why);
        let cut_short = matches!(self.exchange.state(), State::Handler | State::Responding);
        if let Some((io, _)) = self.take_io() {
            if cut_short {
                io.reset_on_drop();
            }
        }
        Http1Outcome::Over(why)
    }
}
