//! HTTP/2 connections: their streams, each with its own deadlines.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::http2_departure::{Departure, Due};
use super::http2_stream::StreamExecutor;
use crate::events::{CloseReason, Event, RequestInfo, TimeoutKind};
use crate::reply::RefusalReason;
use crate::serve::exchange::{FIRST_WINDOW, OpenStream, Streams, Verdict};
use crate::serve::service::{App, ConnService, Source};
use crate::serve::state::Conn;
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};
use crate::track::BodyEnd;

type Connection<T, A> = http2::Connection<TokioIo<ServeIo<T>>, ConnService<A>, StreamExecutor>;

/// An HTTP/2 connection.
pub(crate) struct Http2<T, A: App> {
    connection: Pin<Box<Connection<T, A>>>,
    streams: Arc<Streams>,
    departure: Departure,
    /// `true` if a head was too slow: the connection ends once h2 has sent its GOAWAY.
    refused: bool,
    /// The close reason, if the connection ends as requested.
    why: CloseReason,
}

impl<T, A: App> Drop for Http2<T, A> {
    fn drop(&mut self) {
        // A stream that was begun and never executed (a panic in between) points back at the streams.
        drop(OpenStream::claim(&self.streams));
    }
}

impl<T, A> Http2<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    pub(crate) fn new(mut io: ServeIo<T>, app: A) -> Self {
        let server = io.guard.server.clone();
        let streams = Arc::new(Streams::new(server.clone(), io.conn().clone()));
        io.set_mode(Mode::Http2(streams.clone(), Box::default()));
        io.conn().set_activity(Some(streams.clone()));
        let executor = StreamExecutor::new(streams.clone());
        let limits = &server.limits;
        let http2 = &limits.http2;
        let mut builder = http2::Builder::new(executor);
        builder
            .initial_stream_window_size(http2.initial_stream_window)
            .initial_connection_window_size(http2.initial_connection_window)
            .adaptive_window(http2.adaptive_window)
            .max_frame_size(http2.max_frame_size)
            .max_send_buf_size(http2.max_send_buffer)
            .header_table_size(http2.header_table_size)
            .max_pending_accept_reset_streams(http2.max_pending_reset)
            .max_local_error_reset_streams(http2.max_local_error_reset);
        if http2.connect_protocol {
            builder.enable_connect_protocol();
        }
        let connection = builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .serve_connection(
                TokioIo::new(io),
                ConnService::new(app, Source::Http2(streams.clone())),
            );
        Http2 {
            connection: Box::pin(connection),
            departure: Departure::new(&streams.server.lifecycle),
            streams,
            refused: false,
            why: CloseReason::Ended,
        }
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.streams.conn
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Timer>,
    ) -> Poll<CloseReason> {
        let streams = self.streams.clone();
        let server = &streams.server;
        loop {
            if server.cutting() {
                let leaving = &streams.leaving;
                let lingers = leaving.linger_until() != Tick::NEVER && !leaving.is_undelivered();
                return Poll::Ready(if lingers { self.why } else { CloseReason::Cut });
            }
            if self.departure.follow_phase(&streams) {
                if streams.idle_since() != Tick::NEVER {
                    self.why = CloseReason::Drained;
                }
                self.go_away(server.clock.now());
            }
            streams.begin_poll();
            let ended = streams.leaving.ended();
            match self.connection.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(self.why),
                Poll::Ready(Err(error)) => {
                    if broke_the_protocol(&error) {
                        let request = RequestInfo::from_peer(streams.conn.info.peer);
                        let reason = RefusalReason::Http2Error;
                        server.events.emit(|| Event::Refused { reason, request });
                    }
                    return Poll::Ready(CloseReason::Error);
                }
                Poll::Pending => {}
            }
            if self.refused {
                return Poll::Ready(self.why);
            }
            self.departure.note_written(&streams, ended);
            let (deadline, due) = self.departure.next_deadline(&streams);
            let now = ready!(timer.as_mut().poll_due(cx, &server.clock, deadline));
            match due {
                Due::Leave => {
                    if !self.departure.announce(&streams, now) {
                        self.go_away(now);
                    }
                }
                Due::Idle => {
                    self.emit_timeout(TimeoutKind::Idle);
                    self.why = CloseReason::Timeout(TimeoutKind::Idle);
                    self.go_away(now);
                }
                Due::Unacknowledged if self.departure.acknowledge(&streams, now) => {}
                Due::Unacknowledged | Due::Lingered => return Poll::Ready(self.why),
                // Other streams may be open and end with it: h2 reads no further than the half head.
                Due::HeadTooSlow => {
                    let open = streams.open();
                    open.iter().for_each(|open| open.give_up(BodyEnd::Timeout));
                    self.emit_timeout(TimeoutKind::ReadHeader);
                    self.why = CloseReason::Timeout(TimeoutKind::ReadHeader);
                    self.refused = true;
                    self.go_away(now);
                }
                Due::Slow | Due::Tail => {
                    let slow = match due {
                        Due::Tail => streams.tail_expired(now),
                        _ => self.transport_expired(now),
                    };
                    if let Some(kind) = slow {
                        let open = streams.open();
                        open.iter().for_each(|open| open.give_up(BodyEnd::Timeout));
                        self.emit_timeout(kind);
                        if matches!(due, Due::Slow) {
                            // Only the transport can do that, when h2 next tries to write.
                            streams.leaving.set_reset();
                            let _ = self.connection.as_mut().poll(cx);
                        }
                        return Poll::Ready(CloseReason::Timeout(kind));
                    }
                }
            }
        }
    }

    fn go_away(&mut self, now: Tick) {
        if self.departure.begin(&self.streams, now) {
            self.connection.as_mut().graceful_shutdown();
        }
    }

    fn emit_timeout(&self, kind: TimeoutKind) {
        let peer = self.streams.conn.info.peer;
        let request = RequestInfo::from_peer(peer);
        let event = || Event::Timeout { kind, request };
        self.streams.server.events.emit(event);
    }
}

impl<T, A: App> Http2<T, A> {
    /// Returns the timeout that has passed if the client takes too little of the output.
    fn transport_expired(&self, now: Tick) -> Option<TimeoutKind> {
        let timeouts = &self.streams.server.timeouts;
        let transport = &self.streams.transport;
        transport.look(now);
        if self.streams.conn.write_stall_deadline(timeouts) <= now {
            return Some(TimeoutKind::WriteStall);
        }
        let rate = timeouts.effective_min_write_rate();
        let rate = rate.filter(|_| transport.window_deadline(rate) <= now)?;
        let stalls = timeouts.effective_write_stall().is_some();
        match transport.judge(now, rate, stalls, FIRST_WINDOW) {
            Verdict::TooSlow => Some(TimeoutKind::MinWriteRate),
            Verdict::Goes => None,
        }
    }
}

/// Returns `true` if h2 has ended the connection because of the client's input, rather than the transport's error or
/// the client's close.
fn broke_the_protocol(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let h2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| !error.is_io() && !error.is_remote())
}
