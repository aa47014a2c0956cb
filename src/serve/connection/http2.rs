//! HTTP/2: the connection's streams, each with deadlines of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::http2_stream::StreamExecutor;
use crate::events::{Closed, Event, RequestInfo, Timeout};
use crate::phase::Phase;
use crate::reply::Reason;
use crate::serve::exchange::{FIRST_WINDOW, Streams, Verdict};
use crate::serve::service::{App, ConnService, Source};
use crate::serve::state::Conn;
use crate::serve::time::{Tick, Timer};
use crate::serve::transport::{Mode, ServeIo};
use crate::track::End;

/// How long h2 may take to end a connection in which it has heard that the GOAWAY is acknowledged: it may be in the
/// middle of a frame, or not be able to write.
const LAST_CHANCE: Duration = Duration::from_millis(200);

type Connection<T, A> = http2::Connection<TokioIo<ServeIo<T>>, ConnService<A>, StreamExecutor>;

/// An HTTP/2 connection.
pub(crate) struct Http2<T, A: App> {
    connection: Pin<Box<Connection<T, A>>>,
    streams: Arc<Streams>,
    /// When it is asked to leave, within the lame-duck window.
    leave_at: Tick,
    /// Since when it has been told to open no more streams.
    announced: Option<Tick>,
    /// Since when it has been asked to leave.
    goaway_since: Option<Tick>,
    /// Since when h2 takes the GOAWAY for acknowledged, though the client has not said so.
    acknowledged: Option<Tick>,
    /// The client did not take all when h2 last wrote.
    behind: bool,
    /// A head was too slow: it ends when h2 has said so.
    refused: bool,
    /// Why it ends, if it ends as it was asked to.
    why: Closed,
}

impl<T, A: App> Drop for Http2<T, A> {
    fn drop(&mut self) {
        // What was begun and never executed (a panic in between) points back at the streams.
        drop(self.streams.take_begun());
    }
}

impl<T, A> Http2<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    pub fn new(mut io: ServeIo<T>, app: A) -> Self {
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
            streams,
            leave_at: Tick::NEVER,
            announced: None,
            goaway_since: None,
            acknowledged: None,
            behind: false,
            refused: false,
            why: Closed::Ended,
        }
    }

    pub fn conn(&self) -> &Arc<Conn> {
        &self.streams.conn
    }

    pub fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Timer>) -> Poll<Closed> {
        let streams = self.streams.clone();
        let server = &streams.server;
        loop {
            if server.cutting() {
                let leaving = &streams.leaving;
                let lingers = leaving.linger_until() != Tick::NEVER && !leaving.is_undelivered();
                return Poll::Ready(if lingers { self.why } else { Closed::Cut });
            }
            self.follow_phase();
            streams.begin_poll();
            let ended = streams.leaving.ended();
            match self.connection.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(self.why),
                Poll::Ready(Err(error)) => {
                    if broke_the_protocol(&error) {
                        let request = RequestInfo::from_peer(streams.conn.info.peer);
                        let reason = Reason::Http2Error;
                        server.events.tell(|| Event::Refused { reason, request });
                    }
                    return Poll::Ready(Closed::Error);
                }
                Poll::Pending => {}
            }
            if self.refused {
                return Poll::Ready(self.why);
            }
            self.note_written(ended);
            let (deadline, due) = self.deadline();
            let now = ready!(timer.as_mut().poll_due(cx, &server.clock, deadline));
            match due {
                Due::Leave if self.announced.is_none() => self.announce(now),
                Due::Leave => self.go_away(now),
                Due::Idle => {
                    self.tell_timeout(Timeout::Idle);
                    self.why = Closed::Timeout(Timeout::Idle);
                    self.go_away(now);
                }
                // h2 would wait for ever. It then names the last stream that counts, and closes.
                Due::Unacknowledged if self.acknowledged.is_none() => {
                    self.acknowledged = Some(now);
                    streams.leaving.acknowledge.store(true, Ordering::Relaxed);
                }
                Due::Unacknowledged | Due::Lingered => return Poll::Ready(self.why),
                // Other streams may be open, and end with it: h2 reads no further than the half head.
                Due::HeadTooSlow => {
                    let open = streams.open();
                    open.iter().for_each(|open| open.give_up(End::Timeout));
                    self.tell_timeout(Timeout::ReadHeader);
                    self.why = Closed::Timeout(Timeout::ReadHeader);
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
                        open.iter().for_each(|open| open.give_up(End::Timeout));
                        self.tell_timeout(kind);
                        if matches!(due, Due::Slow) {
                            // Only the transport can see to that, when h2 next tries to write.
                            streams.leaving.set_reset();
                            let _ = self.connection.as_mut().poll(cx);
                        }
                        return Poll::Ready(Closed::Timeout(kind));
                    }
                }
            }
        }
    }

    /// h2 has written what it could, after so many streams had ended.
    fn note_written(&mut self, ended: usize) {
        let leaving = &self.streams.leaving;
        if self.streams.conn.write_is_blocked() {
            self.behind |= leaving.holds_answers();
            return;
        }
        self.streams.settled.store(true, Ordering::Relaxed);
        leaving.all_written(ended, self.streams.transport.moved());
        if self.behind {
            self.behind = false;
            self.streams.quiet_from(self.streams.server.clock.now());
        }
    }

    fn follow_phase(&mut self) {
        if self.goaway_since.is_some() {
            return;
        }
        let server = &self.streams.server;
        match server.lifecycle.phase() {
            Phase::Starting | Phase::Ready => {}
            // At a random moment in the third quarter of the window: clients that have many
            // connections do not lose them all at once, and have left before the drain begins.
            Phase::LameDuck if self.leave_at == Tick::NEVER => {
                let half = server.lifecycle.lame_duck_left() / 2;
                let wait = half + half.mul_f64(self.streams.conn.dice() * 0.5);
                self.leave_at = server.clock.now().after(Some(wait));
            }
            Phase::LameDuck => {}
            Phase::Draining | Phase::Closed => {
                let now = server.clock.now();
                if self.streams.idle_since() != Tick::NEVER {
                    self.why = Closed::Drained;
                }
                self.go_away(now);
            }
        }
    }

    /// Tells the client to open no more streams, some time before the last stream that counts is
    /// fixed. hyper says both within one round trip, and a client may have requests on their way by
    /// then, which are refused.
    fn announce(&mut self, now: Tick) {
        self.announced = Some(now);
        self.leave_at = now.after(Some(self.streams.leaving.notice_time()));
        self.streams.leaving.notice.store(true, Ordering::Relaxed);
    }

    fn go_away(&mut self, now: Tick) {
        if self.goaway_since.is_none() {
            self.goaway_since = Some(now);
            self.streams.leaving.begin(now);
            self.connection.as_mut().graceful_shutdown();
        }
    }

    fn tell_timeout(&self, kind: Timeout) {
        let peer = self.streams.conn.info.peer;
        let request = RequestInfo::from_peer(peer);
        let event = || Event::Timeout { kind, request };
        self.streams.server.events.tell(event);
    }

    /// Since when the connection has been idle: without a stream, and without an answer that the client does not take.
    /// What else h2 cannot write, as to a flood of PINGs that never reads, counts for nothing.
    fn idle_since(&self) -> Tick {
        if self.behind || self.streams.leaving.holds_answers() {
            return Tick::NEVER;
        }
        self.streams.idle_since()
    }

    /// The next deadline and what is to be done when it comes.
    fn deadline(&self) -> (Tick, Due) {
        let timeouts = &self.streams.server.timeouts;
        let leaving = &self.streams.leaving;
        if leaving.linger_until() != Tick::NEVER {
            return (leaving.linger_until(), Due::Lingered);
        }
        let idle_since = self.idle_since();
        let end = match (self.goaway_since, self.acknowledged, idle_since) {
            (_, _, Tick::NEVER) => Tick::NEVER,
            (Some(_), Some(acknowledged), _) => acknowledged.after(Some(LAST_CHANCE)),
            (Some(since), None, idle) => since.after(Some(leaving.wait())).max(idle),
            (None, _, idle) => idle.after(timeouts.effective_idle()),
        };
        let what = match self.goaway_since {
            Some(_) => Due::Unacknowledged,
            None => Due::Idle,
        };
        let leave_at = match self.goaway_since {
            Some(_) => Tick::NEVER,
            None => self.leave_at,
        };
        [
            (end, what),
            (leave_at, Due::Leave),
            (self.streams.conn.write_stall_deadline(timeouts), Due::Slow),
            (self.streams.transport.look_deadline(), Due::Slow),
            (
                self.streams
                    .head_since()
                    .after(timeouts.effective_read_header()),
                Due::HeadTooSlow,
            ),
            (
                self.streams
                    .transport
                    .window_deadline(timeouts.effective_min_write_rate()),
                Due::Slow,
            ),
            (self.streams.tail_deadline(), Due::Tail),
        ]
        .into_iter()
        .min_by_key(|(tick, _)| *tick)
        .unwrap_or((Tick::NEVER, Due::Leave))
    }
}

impl<T, A: App> Http2<T, A> {
    /// Whether the client takes too little of what is written.
    fn transport_expired(&self, now: Tick) -> Option<Timeout> {
        let timeouts = &self.streams.server.timeouts;
        let transport = &self.streams.transport;
        transport.look(now);
        if self.streams.conn.write_stall_deadline(timeouts) <= now {
            return Some(Timeout::WriteStall);
        }
        let rate = timeouts.effective_min_write_rate();
        let rate = rate.filter(|_| transport.window_deadline(rate) <= now)?;
        let stalls = timeouts.effective_write_stall().is_some();
        match transport.judge(now, rate, stalls, FIRST_WINDOW) {
            Verdict::TooSlow => Some(Timeout::MinWriteRate),
            Verdict::Goes => None,
        }
    }
}

/// What a deadline of an HTTP/2 connection is for.
#[derive(Clone, Copy)]
enum Due {
    Idle,
    Leave,
    Unacknowledged,
    Lingered,
    HeadTooSlow,
    /// The client does not take what is written.
    Slow,
    /// Nor the end of a response.
    Tail,
}

/// Whether h2 has ended the connection for what the client sent, and not the transport or the client itself.
fn broke_the_protocol(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let h2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| !error.is_io() && !error.is_remote())
}
