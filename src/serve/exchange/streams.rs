//! The streams of an HTTP/2 connection, and their lifetimes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

use slab::Slab;

use super::pace::Pace;
use super::request::Exchange;
use super::state::State;
use super::untaken::Turn;
use crate::events::TimeoutKind;
use crate::serve::state::{Activity, Conn, InFlight, Shared};
use crate::serve::time::Tick;
use crate::shutdown::ConnectionState;

use super::leaving::Leaving;
use crate::sync::Lock;

/// The largest piece that HTTP/2 is given at once.
///
/// hyper waits for one byte of window and then hands over a whole chunk, which h2 holds until the client has opened the
/// window for all of it. With pieces, the wait is where the deadline is.
pub(crate) const PIECE: usize = 16 * 1024;

/// The streams of a connection.
pub(crate) struct Streams {
    pub server: Arc<Shared>,
    pub conn: Arc<Conn>,
    count: AtomicUsize,
    /// The number of streams of which only the end is left.
    tails: AtomicUsize,
    /// The time since when there has been no stream.
    idle_since: AtomicU64,
    /// The pace of all output, while the transport does not take it.
    pub transport: Pace,
    /// The clock as read in this poll of the connection; 0 if it has not been read.
    now: AtomicU64,
    /// The time at which the connection began HTTP/2.
    pub began: Tick,
    pub leaving: Leaving,
    /// The number of service calls since calls and streams were last matched, and those whose clients wait for `100
    /// Continue`.
    pub calls: AtomicU32,
    pub unnamed: Lock<Vec<(u32, Weak<Exchange>)>>,
    /// `true` once hyper has called the service for all input.
    pub settled: AtomicBool,
    /// The time since when the client owes the end of a head; `NEVER` if it owes none.
    head_since: AtomicU64,
    /// The size of the open streams' heads.
    header_bytes: AtomicUsize,
    named: Lock<Slab<Arc<Exchange>>>,
    /// The stream that ended last: h2 may still hold its response.
    last: Lock<Option<Arc<Exchange>>>,
}

impl Streams {
    pub(crate) fn new(server: Arc<Shared>, conn: Arc<Conn>) -> Self {
        let now = server.clock.now();
        let accepted = conn.accepted;
        Streams {
            server,
            conn,
            count: AtomicUsize::new(0),
            tails: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now.0),
            transport: Pace::new(),
            now: AtomicU64::new(0),
            began: now,
            leaving: Leaving::default(),
            calls: AtomicU32::new(0),
            unnamed: Lock::default(),
            settled: AtomicBool::new(false),
            head_since: AtomicU64::new(accepted.0),
            header_bytes: AtomicUsize::new(0),
            named: Lock::default(),
            last: Lock::default(),
        }
    }

    fn named(&self) -> MutexGuard<'_, Slab<Arc<Exchange>>> {
        self.named.lock()
    }

    /// A stream is open: its exchange, and its place among the named.
    pub(super) fn enter(&self, header_bytes: usize) -> (Arc<Exchange>, usize) {
        let (server, conn) = (self.server.clone(), self.conn.clone());
        let exchange = Arc::new(Exchange::new(server, conn, None, true));
        self.count.fetch_add(1, Ordering::Relaxed);
        let slot = self.named().insert(exchange.clone());
        self.header_bytes.fetch_add(header_bytes, Ordering::Relaxed);
        (exchange, slot)
    }

    /// It is not open any more.
    pub(super) fn leave(&self, slot: usize, header_bytes: usize, tail: bool) {
        let named = self.named().try_remove(slot);
        self.set_last(named);
        self.header_bytes.fetch_sub(header_bytes, Ordering::Relaxed);
        self.leaving.stream_ended();
        if tail {
            self.tails.fetch_sub(1, Ordering::Relaxed);
        }
        let now = self.server.clock.now();
        self.idle_since.store(now.0, Ordering::Relaxed);
        // Release: a thread that sees no stream also sees since when.
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The connection's task must arm the idle deadline.
            self.conn.wake();
        }
    }
    /// Counts a stream of which only the end is left.
    pub(super) fn add_tail(&self) {
        self.tails.fetch_add(1, Ordering::Release);
    }

    /// Counts a call of the service. Returns the number of earlier calls.
    pub(crate) fn count_call(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Records that the client of this call waits for `100 Continue`.
    pub(crate) fn expects_continue(&self, call: u32, exchange: &Arc<Exchange>) {
        let mut unnamed = self.unnamed.lock();
        unnamed.push((call, Arc::downgrade(exchange)));
    }

    /// Returns `true` if the heads of the open streams exceed their common limit.
    pub(crate) fn heads_exceed_limit(&self) -> bool {
        let most = self.server.limits.http2.max_open_header_bytes;
        self.header_bytes.load(Ordering::Relaxed) > most
    }

    /// Begins a poll of the connection's task: the clock is read again at the next use.
    pub(crate) fn begin_poll(&self) {
        self.now.store(0, Ordering::Relaxed);
    }

    /// Returns the time of this poll of the connection. Only its own task calls this.
    pub(super) fn now(&self) -> Tick {
        match self.now.load(Ordering::Relaxed) {
            0 => {
                let now = self.server.clock.now();
                self.now.store(now.0, Ordering::Relaxed);
                now
            }
            now => Tick(now),
        }
    }

    /// Returns the connection's progress with the output of all its streams.
    pub(super) fn turn(&self) -> Turn {
        let streams = self.count() as u64 + 1;
        Turn {
            moved: self.transport.moved(),
            // h2 gives each stream with data to send a frame in turn. Twice that, because a part of it may have been
            // written before the wait began.
            round: streams * 2 * PIECE as u64,
            free_since: self.conn.quiet_since(Tick(0)),
        }
    }

    /// Returns the earliest deadline of a stream of which only the end is left: its last piece is in h2's hands, and
    /// the client's window is shut.
    pub(crate) fn tail_deadline(&self) -> Tick {
        if self.tails.load(Ordering::Acquire) == 0 {
            return Tick::NEVER;
        }
        let moved = self.transport.moved();
        let named = self.named();
        let tails = named.iter().filter(|(_, open)| open.is_tail());
        let deadlines = tails.map(|(_, open)| {
            open.peer_is_to_take(|| self.now(), moved);
            open.tail_deadline()
        });
        deadlines.min().unwrap_or(Tick::NEVER)
    }

    /// Returns the passed deadline of such a stream, if any.
    pub(crate) fn tail_expired(&self, now: Tick) -> Option<TimeoutKind> {
        let turn = self.turn();
        let named = self.named();
        let mut tails = named.iter().filter(|(_, open)| open.is_tail());
        tails.find_map(|(_, open)| open.tail_expired(now, &turn))
    }

    /// Returns the open requests.
    pub(crate) fn open(&self) -> Vec<Arc<Exchange>> {
        self.named().iter().map(|(_, open)| open.clone()).collect()
    }

    /// Returns the request whose response h2 or the kernel holds because the client does not take it.
    pub(crate) fn held(&self) -> Option<Arc<Exchange>> {
        let by_h2 = self.leaving.holds_answers() && self.conn.write_is_blocked();
        let held = by_h2 || self.leaving.is_undelivered();
        let last = self.last.lock();
        last.clone().filter(|_| held)
    }

    fn set_last(&self, exchange: Option<Arc<Exchange>>) {
        let mut last = self.last.lock();
        let before = std::mem::replace(&mut *last, exchange);
        drop(last);
        drop(before);
    }

    /// Records that the response of the stream that ended last is written: the connection is quiet from `now` on.
    pub(crate) fn quiet_from(&self, now: Tick) {
        self.idle_since.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Records the client's debt after its last bytes. `new` means another head than before.
    pub(crate) fn owes_head(&self, owes: bool, new: bool) {
        let since = self.head_since.load(Ordering::Relaxed);
        if !owes {
            if since != Tick::NEVER.0 {
                self.head_since.store(Tick::NEVER.0, Ordering::Relaxed);
            }
        } else if new || since == Tick::NEVER.0 {
            let now = self.server.clock.now();
            self.head_since.store(now.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn head_since(&self) -> Tick {
        Tick(self.head_since.load(Ordering::Relaxed))
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Returns the time since when no stream has been open; `NEVER` while one is.
    pub(crate) fn idle_since(&self) -> Tick {
        if self.count() == 0 {
            Tick(self.idle_since.load(Ordering::Relaxed))
        } else {
            Tick::NEVER
        }
    }
}

impl Activity for Streams {
    fn each_in_flight(&self, _: &Conn, visit: &mut dyn FnMut(InFlight<'_>)) {
        let open = self.open();
        // It is over, and its response is not taken.
        if let Some(held) = self.held().filter(|_| open.is_empty()) {
            visit(InFlight {
                began: held.began(),
                known: &|| held.known(),
                state: State::Responding.as_str(),
            });
        }
        for exchange in open {
            exchange.in_flight(visit);
        }
    }

    fn counts_as(&self) -> ConnectionState {
        let open = self.open();
        let states = open.iter().map(|exchange| exchange.counts_as());
        states.min().unwrap_or(ConnectionState::Idle)
    }
}
