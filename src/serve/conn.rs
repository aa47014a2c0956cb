//! What the server knows of each of its connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use tokio::sync::OwnedSemaphorePermit;

use super::clock::{Clock, Tick};
use super::exchange::{Exchange, Known, State};
use super::h2::Streams;
use super::server::Server;
use super::timeouts::Timeouts;
use crate::conn_info::{ConnInfo, folded};
use crate::events::{Closed, Event};
use crate::shutdown::{ConnectionState, CutRequest};
use crate::sync::{Lock, set_waker};
use crate::track::{Tally, TallyGuard};

/// One connection, as the registry knows it.
pub(super) struct Conn {
    pub info: ConnInfo,
    pub accepted: Tick,
    requests: AtomicU32,
    /// The last answer ended in the lame duck or later, and did not ask the connection to leave.
    uninformed: AtomicBool,
    /// Where this connection's dice begin.
    seed: u64,
    /// Since when the peer has taken nothing of what is to be written; `NEVER` when nothing waits.
    write_blocked: AtomicU64,
    /// When the peer last began to take something again.
    write_resumed: AtomicU64,
    inner: Lock<Inner>,
}

struct Inner {
    reader: Option<Waker>,
    writer: Option<Waker>,
    doing: Doing,
    why: Closed,
}

/// What a connection does, for those who look at it from outside of its task.
#[derive(Clone)]
pub(super) enum Doing {
    Parked,
    Http1(Arc<Exchange>),
    Http2(Arc<Streams>),
    Upgraded(Arc<Known>),
}

impl Conn {
    pub fn new(info: ConnInfo, accepted: Tick, seed: u64) -> Self {
        Conn {
            info,
            accepted,
            seed,
            requests: AtomicU32::new(0),
            uninformed: AtomicBool::new(false),
            write_blocked: AtomicU64::new(Tick::NEVER.0),
            write_resumed: AtomicU64::new(0),
            inner: Lock::new(Inner {
                reader: None,
                writer: None,
                doing: Doing::Parked,
                why: Closed::Ended,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Whether the client has not been asked to leave, while the drain goes on: the next answer will do so.
    pub fn is_uninformed(&self) -> bool {
        self.requests() == 0 || self.uninformed.load(Relaxed)
    }

    pub fn set_uninformed(&self) {
        self.uninformed.store(true, Relaxed);
    }

    /// A number from 0 to 1, another for each request: SplitMix64. It spreads departures and guards
    /// nothing.
    pub fn dice(&self) -> f64 {
        let step = u64::from(self.requests()).wrapping_add(1);
        let mut z = self
            .seed
            .wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    // === the peer takes nothing ===

    /// Called only for a write that would not go through. Returns since when that is so.
    pub fn write_blocks(&self, clock: &Clock) -> Tick {
        if !self.write_is_blocked() {
            self.write_blocked.store(clock.now().0, Relaxed);
        }
        Tick(self.write_blocked.load(Relaxed))
    }

    /// A write went through. Returns the time if one before it had not.
    pub fn write_progressed(&self, clock: &Clock) -> Option<Tick> {
        if !self.write_is_blocked() {
            return None;
        }
        let now = clock.now();
        self.write_blocked.store(Tick::NEVER.0, Relaxed);
        self.write_resumed.store(now.0, Relaxed);
        Some(now)
    }

    /// A write does not go through yet, but the peer takes what came before it.
    pub fn write_trickles(&self, now: Tick) {
        self.write_blocked.store(now.0, Relaxed);
    }

    pub fn write_is_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed) != Tick::NEVER.0
    }

    /// Since when the connection has been quiet, if nothing has been open since `idle_since`: not while
    /// there is something that the peer does not take.
    pub fn quiet_since(&self, idle_since: Tick) -> Tick {
        if self.write_is_blocked() {
            return Tick::NEVER;
        }
        idle_since.max(Tick(self.write_resumed.load(Relaxed)))
    }

    pub fn write_stall_deadline(&self, timeouts: &Timeouts) -> Tick {
        match Tick(self.write_blocked.load(Relaxed)) {
            Tick::NEVER => Tick::NEVER,
            since => since.after(timeouts.effective_write_stall()),
        }
    }

    // === seen from outside ===

    pub fn set_doing(&self, doing: Doing) {
        let before = std::mem::replace(&mut self.inner().doing, doing);
        drop(before);
    }

    pub fn doing(&self) -> Doing {
        self.inner().doing.clone()
    }

    /// Why it will have ended, if it ends now.
    pub fn will_end(&self, why: Closed) {
        self.inner().why = why;
    }

    pub fn why(&self) -> Closed {
        self.inner().why
    }

    /// Who is to be woken when the server has something to say. An upgraded connection may be read
    /// and written by two tasks.
    pub fn set_reader(&self, waker: &Waker) {
        set_waker(&mut self.inner().reader, waker);
    }

    pub fn set_writer(&self, waker: &Waker) {
        set_waker(&mut self.inner().writer, waker);
    }

    pub fn wake(&self) {
        let mut inner = self.inner();
        let (reader, writer) = (inner.reader.clone(), inner.writer.take());
        drop(inner);
        [reader, writer].into_iter().flatten().for_each(Waker::wake);
    }

    /// What would be cut if it were cut now: nothing for an idle connection.
    pub fn in_flight(&self, clock: &Clock, into: &mut Vec<CutRequest>) {
        let now = clock.now();
        self.each_in_flight(|began, known, state| {
            into.push(CutRequest::new(known().info(), now.since(began), state));
        });
    }

    /// Visits what is in flight: since when, what is known of it, which costs allocations to those who ask, and
    /// its state.
    pub fn each_in_flight(&self, mut visit: impl FnMut(Tick, &dyn Fn() -> Known, &'static str)) {
        match self.doing() {
            Doing::Parked => {}
            Doing::Http1(exchange) => match exchange.state() {
                State::Idle | State::Lingering => {}
                State::Head => visit(exchange.began(), &|| exchange.known(), State::Head.as_str()),
                state => visit(exchange.began(), &|| exchange.known(), state.as_str()),
            },
            Doing::Http2(streams) => {
                let open = streams.open();
                // It is over, and its answer is not taken.
                if let Some(held) = streams.held().filter(|_| open.is_empty()) {
                    let state = State::Responding.as_str();
                    visit(held.began(), &|| held.known(), state);
                }
                for exchange in open {
                    let state = if exchange.upgraded() {
                        UPGRADED
                    } else {
                        exchange.state().as_str()
                    };
                    visit(exchange.began(), &|| exchange.known(), state);
                }
            }
            Doing::Upgraded(known) => visit(self.accepted, &|| (*known).clone(), UPGRADED),
        }
    }
}

impl Conn {
    /// What it is counted as; an HTTP/2 connection as its stream that is furthest from its end.
    pub fn counts_as(&self) -> ConnectionState {
        match self.doing() {
            Doing::Parked => ConnectionState::Idle,
            Doing::Http1(exchange) => exchange.counts_as(),
            Doing::Http2(streams) => {
                let streams = streams.open();
                let states = streams.iter().map(|exchange| exchange.counts_as());
                states.min().unwrap_or(ConnectionState::Idle)
            }
            Doing::Upgraded(_) => ConnectionState::Upgraded,
        }
    }
}

const UPGRADED: &str = "upgraded";

/// A connection's place in the server's books, until it is dropped: with the connection's IO, which
/// an upgrade takes along.
pub(super) struct ConnGuard {
    pub server: Arc<Server>,
    pub conn: Arc<Conn>,
    slot: usize,
    /// Held unless the connection has seen the drain and is idle.
    busy: Option<TallyGuard>,
    _all: TallyGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnGuard {
    pub fn open(
        server: &Arc<Server>,
        mut info: ConnInfo,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        // The fields are public.
        info.peer = info.peer.map(folded);
        info.local = info.local.map(folded);
        let conn = Arc::new(Conn::new(info, server.clock.now(), server.seed()));
        let guard = ConnGuard {
            server: server.clone(),
            slot: server.enlist(conn.clone()),
            conn,
            busy: Some(Tally::enter(&server.busy)),
            _all: Tally::enter(&server.all),
            _permit: permit,
        };
        server.events.tell(|| Event::Opened { peer: info.peer });
        guard
    }

    /// Nothing is in flight here; the drain need not wait for it.
    pub fn release(&mut self) {
        self.busy = None;
    }

    /// Something is in flight again.
    pub fn hold(&mut self) {
        if self.busy.is_none() {
            self.busy = Some(Tally::enter(&self.server.busy));
        }
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        self.server.strike(self.slot, &self.conn);
        // What it was doing points back at it.
        self.conn.set_doing(Doing::Parked);
        let why = self.conn.why();
        self.server.events.tell(|| Event::Closed {
            peer: self.conn.info.peer,
            why,
        });
    }
}
