//! HTTP/2: the connection's streams, each with deadlines of its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project::pin_project;
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite};

use super::app::App;
use super::clock::Tick;
use super::conn::{Conn, Doing};
use super::exchange::Exchange;
use super::io::{Mode, ServeIo};
use super::server::Server;
use super::service::{ConnService, Source};
use super::timer::Timer;
use crate::events::{Closed, Event, Timeout};
use crate::phase::Phase;

/// How long a connection without streams may take to acknowledge the GOAWAY (hyper waits for a PING
/// to come back, for ever).
const GOAWAY_WAIT: Duration = Duration::from_secs(1);

/// The streams of a connection.
pub(super) struct Streams {
    pub server: Arc<Server>,
    pub conn: Arc<Conn>,
    count: AtomicUsize,
    /// Since when there has been none.
    idle_since: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    named: Slab<Arc<Exchange>>,
    /// hyper calls the service and then hands the stream's future to the executor: the exchange of
    /// the first waits here for the second.
    begun: Option<(usize, Arc<Exchange>)>,
}

impl Streams {
    pub fn new(server: Arc<Server>, conn: Arc<Conn>) -> Self {
        let now = server.clock.now();
        Streams {
            server,
            conn,
            count: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now.0),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came; its stream's future is about to be executed.
    pub fn begin(&self) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange::new(
            self.server.clone(),
            self.conn.clone(),
            None,
            true,
        ));
        let mut inner = self.inner();
        let slot = inner.named.insert(exchange.clone());
        inner.begun = Some((slot, exchange.clone()));
        exchange
    }

    /// The requests that are open.
    pub fn open(&self) -> Vec<Arc<Exchange>> {
        let inner = self.inner();
        inner.named.iter().map(|(_, open)| open.clone()).collect()
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Since when no stream has been open; `NEVER` while one is.
    fn idle_since(&self) -> Tick {
        if self.count() == 0 {
            Tick(self.idle_since.load(Ordering::Relaxed))
        } else {
            Tick::NEVER
        }
    }
}

/// A stream is open until this is dropped.
struct OpenStream {
    streams: Arc<Streams>,
    begun: Option<(usize, Arc<Exchange>)>,
}

impl OpenStream {
    fn new(streams: Arc<Streams>) -> Self {
        streams.count.fetch_add(1, Ordering::Relaxed);
        let begun = streams.inner().begun.take();
        OpenStream { streams, begun }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        if let Some((slot, _)) = self.begun {
            let named = streams.inner().named.try_remove(slot);
            drop(named);
        }
        streams
            .idle_since
            .store(streams.server.clock.now().0, Ordering::Relaxed);
        // Release: who sees no stream sees since when.
        if streams.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The connection's task has the idle deadline to arm.
            streams.conn.wake();
        }
    }
}

/// Runs the streams of one connection, each as a task with its deadlines.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    streams: Arc<Streams>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let timer = Timer::new(&self.streams.server.clock);
        tokio::spawn(StreamTask {
            future,
            timer,
            stream: OpenStream::new(self.streams.clone()),
        });
    }
}

#[pin_project]
struct StreamTask<F> {
    #[pin]
    future: F,
    #[pin]
    timer: Timer,
    stream: OpenStream,
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let server = &this.stream.streams.server;
        // The sending half of an upgraded stream comes without an exchange, and has no deadlines.
        let Some((_, exchange)) = &this.stream.begun else {
            return this.future.poll(cx).map(drop);
        };
        exchange.set_owner(cx.waker());
        loop {
            if server.cutting() {
                return Poll::Ready(());
            }
            exchange.begin_poll();
            if this.future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let fired = this.timer.as_mut().fired();
            let deadline = exchange.deadline();
            if !fired
                && this
                    .timer
                    .as_mut()
                    .arm(cx, &server.clock, deadline)
                    .is_pending()
            {
                return Poll::Pending;
            }
            match exchange.expired(server.clock.now()) {
                // Dropping hyper's future cancels the handler and resets the stream.
                Some(kind @ (Timeout::Write | Timeout::WriteStall)) => {
                    exchange.tell_timeout(kind);
                    return Poll::Ready(());
                }
                Some(kind) => exchange.expire_read(kind),
                // It was armed for a deadline that has moved since: arm it for the one in force.
                None => {
                    if this
                        .timer
                        .as_mut()
                        .arm(cx, &server.clock, deadline)
                        .is_pending()
                    {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

/// An HTTP/2 connection.
pub(super) struct Http2<T, A: App> {
    connection: Pin<Box<http2::Connection<TokioIo<ServeIo<T>>, ConnService<A>, StreamExecutor>>>,
    streams: Arc<Streams>,
    /// When it is asked to leave, within the lame-duck window.
    leave_at: Tick,
    /// Since when it has been asked to leave.
    goaway_since: Option<Tick>,
}

impl<T, A> Http2<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    pub fn new(mut io: ServeIo<T>, app: A) -> Self {
        let server = io.guard.server.clone();
        let streams = Arc::new(Streams::new(server.clone(), io.conn().clone()));
        io.set_mode(Mode::Http2);
        io.conn().set_doing(Doing::Http2(streams.clone()));
        let executor = StreamExecutor {
            streams: streams.clone(),
        };
        let limits = &server.limits;
        let connection = http2::Builder::new(executor)
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
            goaway_since: None,
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
                return Poll::Ready(Closed::Cut);
            }
            self.follow_phase();
            match self.connection.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Closed::Ended),
                Poll::Ready(Err(_)) => return Poll::Ready(Closed::Error),
                Poll::Pending => {}
            }
            let fired = timer.as_mut().fired();
            let (deadline, due) = self.deadline();
            if !fired && timer.as_mut().arm(cx, &server.clock, deadline).is_pending() {
                return Poll::Pending;
            }
            let now = server.clock.now();
            if now < deadline {
                if timer.as_mut().arm(cx, &server.clock, deadline).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            match due {
                Due::Leave => self.go_away(now),
                Due::Idle => {
                    self.tell_timeout(Timeout::Idle);
                    self.go_away(now);
                }
                Due::Unacknowledged => return Poll::Ready(Closed::Ended),
                Due::WriteStall => {
                    self.tell_timeout(Timeout::WriteStall);
                    return Poll::Ready(Closed::Timeout(Timeout::WriteStall));
                }
            }
        }
    }

    fn follow_phase(&mut self) {
        if self.goaway_since.is_some() {
            return;
        }
        let server = &self.streams.server;
        match server.lifecycle.phase() {
            Phase::Starting | Phase::Ready => {}
            // At a random moment in the second half of the window: clients that have many
            // connections do not lose them all at once.
            Phase::LameDuck if self.leave_at == Tick::NEVER => {
                let half = server.lifecycle.lame_duck_left() / 2;
                let wait = half + half.mul_f64(self.streams.conn.dice() * 0.9);
                self.leave_at = server.clock.now().after(Some(wait));
            }
            Phase::LameDuck => {}
            Phase::Draining | Phase::Closed => self.go_away(server.clock.now()),
        }
    }

    fn go_away(&mut self, now: Tick) {
        if self.goaway_since.is_none() {
            self.goaway_since = Some(now);
            self.connection.as_mut().graceful_shutdown();
        }
    }

    fn tell_timeout(&self, kind: Timeout) {
        let peer = self.streams.conn.info.peer;
        let event = || Event::Timeout { peer, kind };
        self.streams.server.events.tell(event);
    }

    /// The next deadline and what is to be done when it comes.
    fn deadline(&self) -> (Tick, Due) {
        let timeouts = &self.streams.server.timeouts;
        let idle_since = self.streams.idle_since();
        let leaving = match (self.goaway_since, idle_since) {
            (Some(_), Tick::NEVER) | (None, Tick::NEVER) => Tick::NEVER,
            (Some(since), idle) => since.max(idle).after(Some(GOAWAY_WAIT)),
            (None, idle) => idle.after(timeouts.effective_idle()),
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
            (leaving, what),
            (leave_at, Due::Leave),
            (
                self.streams.conn.write_stall_deadline(timeouts),
                Due::WriteStall,
            ),
        ]
        .into_iter()
        .min_by_key(|(tick, _)| *tick)
        .unwrap_or((Tick::NEVER, Due::Leave))
    }
}

/// What a deadline of an HTTP/2 connection is for.
#[derive(Clone, Copy)]
enum Due {
    Idle,
    Leave,
    Unacknowledged,
    WriteStall,
}
