//! What all connections of one listener share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use http::Extensions;
use hyper::server::conn::http1;
use slab::Slab;
use tokio::sync::Semaphore;

use super::clock::Clock;
use super::conn::Conn;
use super::limits::Limits;
use super::protocols::Protocols;
use super::timeouts::Timeouts;
use crate::conn_info::ConnInfo;
use crate::events::{Closed, Events};
use crate::phase::Lifecycle;
use crate::shutdown::{ConnectionCounts, CutRequest, DrainServer};
use crate::sync::Lock;
use crate::track::Tally;

/// hyper reads a head of this size at most, unless it is told otherwise.
const HYPERS_BUFFER: usize = 408 * 1024;

pub(super) type OnConnection = Arc<dyn Fn(&ConnInfo, &mut Extensions) + Send + Sync>;

pub(super) struct Server {
    pub clock: Clock,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub lifecycle: Lifecycle,
    pub events: Events,
    /// What the owner of the server puts into every request of a connection.
    pub on_connection: Option<OnConnection>,
    pub extensions: bool,
    pub protocols: Protocols,
    pub http1: http1::Builder,
    /// Every connection.
    pub all: Arc<Tally>,
    /// Those that the drain waits for: all but the idle ones that know of the drain.
    pub busy: Arc<Tally>,
    pub permits: Option<Arc<Semaphore>>,
    close_idle: AtomicBool,
    cut: AtomicBool,
    /// Requests of connections that have ended; the living count their own.
    requests: AtomicU64,
    accepted: AtomicU64,
    seeds: AtomicU64,
    conns: Lock<Slab<Arc<Conn>>>,
}

impl Server {
    pub fn new(timeouts: Timeouts, limits: Limits, lifecycle: Lifecycle, events: Events) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // Ours tells idle from header time, and answers.
            .header_read_timeout(None)
            // A client that has said all it wants to say may still be listening.
            .half_close(true)
            .max_header_size(limits.max_header_bytes);
        if limits.max_header_bytes > HYPERS_BUFFER {
            http1.max_buf_size(limits.max_header_bytes);
        }
        if let Some(most) = limits.max_headers {
            http1.max_headers(most);
        }
        Server {
            http1,
            clock: Clock::new(),
            timeouts,
            limits,
            lifecycle,
            events,
            on_connection: None,
            extensions: true,
            protocols: Protocols::default(),
            all: Arc::default(),
            busy: Arc::default(),
            permits: limits.max_connections.map(Semaphore::new).map(Arc::new),
            close_idle: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            seeds: AtomicU64::new(RandomState::new().hash_one(0)),
            conns: Lock::default(),
        }
    }

    fn conns(&self) -> MutexGuard<'_, Slab<Arc<Conn>>> {
        self.conns.lock()
    }

    pub fn enlist(&self, conn: Arc<Conn>) -> usize {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.conns().insert(conn)
    }

    pub fn strike(&self, slot: usize, conn: &Conn) {
        let entry = self.conns().try_remove(slot);
        drop(entry);
        self.requests
            .fetch_add(u64::from(conn.requests()), Ordering::Relaxed);
    }

    /// Another number for each connection.
    pub fn seed(&self) -> u64 {
        self.seeds
            .fetch_add(0x9e37_79b9, Ordering::Relaxed)
            .rotate_left(32)
    }

    /// Idle connections are to close now: nothing is in flight any more.
    pub fn closing_idle(&self) -> bool {
        // Acquire, with the Release below: who is woken for it sees it, without leaning on the waker.
        self.close_idle.load(Ordering::Acquire)
    }

    /// Everything is to end now.
    pub fn cutting(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The connections of this moment, to be looked at outside of the lock: a task that is woken may end
    /// on another thread and want it.
    fn snapshot(&self) -> Vec<Arc<Conn>> {
        self.conns().iter().map(|(_, conn)| conn.clone()).collect()
    }

    fn wake_all(&self) {
        for conn in self.snapshot() {
            conn.wake();
        }
    }
}

impl DrainServer for Server {
    fn phase_moved(&self) {
        self.wake_all();
    }

    fn busy(&self) -> Arc<Tally> {
        self.busy.clone()
    }

    fn all(&self) -> Arc<Tally> {
        self.all.clone()
    }

    fn close_idle(&self) {
        self.close_idle.store(true, Ordering::Release);
        self.wake_all();
    }

    fn cut(&self) -> Vec<CutRequest> {
        let mut cut = Vec::new();
        for conn in self.snapshot() {
            let before = cut.len();
            conn.in_flight(&self.clock, &mut cut);
            if cut.len() > before {
                conn.will_end(Closed::Cut);
            }
        }
        self.cut.store(true, Ordering::Release);
        // Not only those above: another may have been accepted since.
        self.wake_all();
        cut
    }

    fn in_flight(&self) -> Vec<CutRequest> {
        let mut in_flight = Vec::new();
        for conn in self.snapshot() {
            conn.in_flight(&self.clock, &mut in_flight);
        }
        in_flight
    }

    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>) {
        let now = self.clock.now();
        let (mut count, mut oldest) = (0, Vec::new());
        for conn in self.snapshot() {
            conn.each_in_flight(|began, known, state| {
                count += 1;
                let at = oldest.partition_point(|(other, _)| *other <= began);
                if at < most {
                    oldest.truncate(most - 1);
                    let named = CutRequest::new(known().info(), now.since(began), state);
                    oldest.insert(at, (began, named));
                }
            });
        }
        (count, oldest.into_iter().map(|(_, named)| named).collect())
    }

    fn count(&self, counts: &mut ConnectionCounts) {
        for conn in self.snapshot() {
            counts.add(conn.counts_as());
        }
    }

    fn requests(&self) -> u64 {
        let conns = self.conns();
        let living: u64 = conns
            .iter()
            .map(|(_, conn)| u64::from(conn.requests()))
            .sum();
        living + self.requests.load(Ordering::Relaxed)
    }

    fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}
