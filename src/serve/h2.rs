//! HTTP/2: the connection's streams, each with deadlines of its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
use super::io::{Between, Mode, ServeIo};
use super::server::Server;
use super::service::{ConnService, Source};
use super::timer::Timer;
use crate::events::{Closed, Event, Timeout};
use crate::phase::Phase;

/// How long a connection without streams may take to acknowledge the GOAWAY (hyper waits for a PING
/// to come back, for ever).
const GOAWAY_WAIT: Duration = Duration::from_secs(1);

/// How long before the GOAWAY that counts a first one announces it (RFC 9113, 6.8: at least a round
/// trip).
const GOAWAY_NOTICE: Duration = Duration::from_millis(100);

/// GOAWAY with the highest stream there can be, and no error.
pub(super) const NOTICE: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, // length 8, type GOAWAY, no flags, stream 0
    0x7f, 0xff, 0xff, 0xff, // last stream
    0, 0, 0, 0, // NO_ERROR
];

/// The streams of a connection.
pub(super) struct Streams {
    pub server: Arc<Server>,
    pub conn: Arc<Conn>,
    count: AtomicUsize,
    /// How many streams there are of which only the end is left.
    tails: AtomicUsize,
    /// Since when there has been none.
    idle_since: AtomicU64,
    /// The transport is to write [`NOTICE`] when it next stands between two frames.
    pub notice: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    named: Slab<Arc<Exchange>>,
    /// hyper calls the service and then hands the stream's future to the executor: what the first
    /// began waits here for the second.
    begun: Option<Arc<OpenStream>>,
}

impl Streams {
    pub fn new(server: Arc<Server>, conn: Arc<Conn>) -> Self {
        let now = server.clock.now();
        Streams {
            server,
            conn,
            count: AtomicUsize::new(0),
            tails: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now.0),
            notice: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came; its stream's future is about to be executed.
    pub fn begin(this: &Arc<Self>) -> Arc<OpenStream> {
        let (server, conn) = (this.server.clone(), this.conn.clone());
        let exchange = Arc::new(Exchange::new(server, conn, None, true));
        this.count.fetch_add(1, Ordering::Relaxed);
        let mut inner = this.inner();
        let slot = inner.named.insert(exchange.clone());
        let open = Arc::new(OpenStream {
            streams: this.clone(),
            exchange,
            slot,
        });
        inner.begun = Some(open.clone());
        open
    }

    /// The earliest deadline of a stream of which only the end is left: its last piece is in h2's
    /// hands, and the client's window is shut.
    fn tail_deadline(&self) -> Tick {
        if self.tails.load(Ordering::Acquire) == 0 {
            return Tick::NEVER;
        }
        let inner = self.inner();
        let tails = inner.named.iter().filter(|(_, open)| open.is_tail());
        let deadlines = tails.map(|(_, open)| open.write_deadline());
        deadlines.min().unwrap_or(Tick::NEVER)
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

/// A stream is open until the last of these is dropped: with its task, or with the last piece of its
/// response if that is later.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    pub exchange: Arc<Exchange>,
    slot: usize,
}

impl OpenStream {
    /// The stream's task is done; what it left with h2 is not.
    fn leave_tail(&self) {
        if !self.exchange.upgraded() && self.exchange.become_tail() {
            self.streams.tails.fetch_add(1, Ordering::Release);
            // The connection's task has its deadline to keep.
            self.streams.conn.wake();
        }
    }

    /// The answer was to a CONNECT: hyper is about to execute the sending half as a task of its own.
    pub fn goes_on_as_a_tunnel(self: &Arc<Self>) {
        self.streams.inner().begun = Some(self.clone());
    }

    /// The sending half has been executed by now, or never will be.
    fn tunnel_has_begun(&self) {
        if self.exchange.upgraded() {
            let left = self.streams.inner().begun.take();
            drop(left);
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        let named = streams.inner().named.try_remove(self.slot);
        drop(named);
        if self.exchange.is_tail() {
            streams.tails.fetch_sub(1, Ordering::Relaxed);
        }
        let now = streams.server.clock.now();
        streams.idle_since.store(now.0, Ordering::Relaxed);
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
        let open = self.streams.inner().begun.take();
        tokio::spawn(StreamTask {
            future: Some(future),
            timer,
            open,
        });
    }
}

#[pin_project]
struct StreamTask<F> {
    /// `None` once it is done.
    #[pin]
    future: Option<F>,
    #[pin]
    timer: Timer,
    open: Option<Arc<OpenStream>>,
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(open) = this.open else {
            return match this.future.as_pin_mut() {
                Some(future) => future.poll(cx).map(drop),
                None => Poll::Ready(()),
            };
        };
        let exchange = &open.exchange;
        let server = &exchange.server;
        exchange.set_owner(cx.waker());
        loop {
            if server.cutting() {
                return Poll::Ready(());
            }
            exchange.begin_poll();
            let polled = match this.future.as_mut().as_pin_mut() {
                Some(future) => future.poll(cx),
                None => return Poll::Ready(()),
            };
            if polled.is_ready() {
                open.tunnel_has_begun();
                this.future.set(None);
                // Whoever else holds it now is a piece of the response that h2 has not written.
                if Arc::strong_count(open) > 1 {
                    open.leave_tail();
                }
                return Poll::Ready(());
            }
            if exchange.upgraded() {
                open.tunnel_has_begun();
                // A tunnel is its user's: no deadlines.
                return Poll::Pending;
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

type Connection<T, A> = http2::Connection<TokioIo<ServeIo<T>>, ConnService<A>, StreamExecutor>;

/// An HTTP/2 connection.
pub(super) struct Http2<T, A: App> {
    connection: Pin<Box<Connection<T, A>>>,
    streams: Arc<Streams>,
    /// When it is asked to leave, within the lame-duck window.
    leave_at: Tick,
    /// Since when it has been told to open no more streams.
    announced: Option<Tick>,
    /// Since when it has been asked to leave.
    goaway_since: Option<Tick>,
}

impl<T, A: App> Drop for Http2<T, A> {
    fn drop(&mut self) {
        // What was begun and never executed (a panic in between) points back at the streams.
        let left = self.streams.inner().begun.take();
        drop(left);
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
        io.set_mode(Mode::Http2(streams.clone(), Between::default()));
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
            announced: None,
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
                Due::Leave if self.announced.is_none() => self.announce(now),
                Due::Leave => self.go_away(now),
                Due::Idle => {
                    self.tell_timeout(Timeout::Idle);
                    self.go_away(now);
                }
                Due::Unacknowledged => return Poll::Ready(Closed::Ended),
                Due::TakesNothing(kind) => {
                    self.tell_timeout(kind);
                    return Poll::Ready(Closed::Timeout(kind));
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
            // At a random moment in the third quarter of the window: clients that have many
            // connections do not lose them all at once, and have left before the drain begins.
            Phase::LameDuck if self.leave_at == Tick::NEVER => {
                let half = server.lifecycle.lame_duck_left() / 2;
                let wait = half + half.mul_f64(self.streams.conn.dice() * 0.5);
                self.leave_at = server.clock.now().after(Some(wait));
            }
            Phase::LameDuck => {}
            Phase::Draining | Phase::Closed => self.go_away(server.clock.now()),
        }
    }

    /// Tells the client to open no more streams, some time before the last stream that counts is
    /// fixed. hyper says both within one round trip, and a client may have requests on their way by
    /// then, which are refused.
    fn announce(&mut self, now: Tick) {
        self.announced = Some(now);
        self.leave_at = now.after(Some(GOAWAY_NOTICE));
        self.streams.notice.store(true, Ordering::Relaxed);
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
                Due::TakesNothing(Timeout::WriteStall),
            ),
            (
                self.streams.tail_deadline(),
                Due::TakesNothing(Timeout::Write),
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
    TakesNothing(Timeout),
}
