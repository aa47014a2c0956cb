//! The connections of one listener, as the drain sees them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conn::Conn;
use super::shared::Shared;
use crate::conn_info::{ConnInfo, folded};
use crate::events::{CloseReason, Event};
use crate::shutdown::{ConnectionCounts, CutRequest, DrainServer};
use crate::sync::Lock;
use crate::track::{Tally, TallyGuard};

pub(crate) struct Registry {
    pub shared: Arc<Shared>,
    /// The tally of all connections.
    pub all: Arc<Tally>,
    /// The tally of connections that the drain waits for: all but the idle ones that know of the drain.
    pub busy: Arc<Tally>,
    pub permits: Option<Arc<Semaphore>>,
    /// The number of requests of ended connections; open ones count their own.
    requests: AtomicU64,
    accepted: AtomicU64,
    seeds: AtomicU64,
    conns: Lock<Slab<Arc<Conn>>>,
}

impl Registry {
    pub(crate) fn new(shared: Shared) -> Self {
        Registry {
            permits: (shared.limits.max_connections)
                .map(Semaphore::new)
                .map(Arc::new),
            shared: Arc::new(shared),
            all: Arc::default(),
            busy: Arc::default(),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            seeds: AtomicU64::new(RandomState::new().hash_one(0)),
            conns: Lock::default(),
        }
    }

    fn conns(&self) -> MutexGuard<'_, Slab<Arc<Conn>>> {
        self.conns.lock()
    }

    fn register(&self, conn: Arc<Conn>) -> usize {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.conns().insert(conn)
    }

    fn deregister(&self, slot: usize, conn: &Conn) {
        let entry = self.conns().try_remove(slot);
        drop(entry);
        self.requests
            .fetch_add(u64::from(conn.requests()), Ordering::Relaxed);
    }

    /// Returns another number for each connection.
    fn seed(&self) -> u64 {
        self.seeds
            .fetch_add(0x9e37_79b9, Ordering::Relaxed)
            .rotate_left(32)
    }

    /// Returns the connections of this moment, to be visited outside of the lock: a task that is woken may end on
    /// another thread and need it.
    fn snapshot(&self) -> Vec<Arc<Conn>> {
        self.conns().iter().map(|(_, conn)| conn.clone()).collect()
    }

    fn wake_all(&self) {
        for conn in self.snapshot() {
            conn.wake();
        }
    }
}

impl DrainServer for Registry {
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
        self.shared.set_close_idle();
        self.wake_all();
    }

    fn cut(&self) -> Vec<CutRequest> {
        let mut cut = Vec::new();
        for conn in self.snapshot() {
            let before = cut.len();
            conn.in_flight(&self.shared.clock, &mut cut);
            if cut.len() > before {
                conn.set_close_reason(CloseReason::Cut);
            }
        }
        self.shared.set_cut();
        // Not only those above: another may have been accepted since.
        self.wake_all();
        cut
    }

    fn in_flight(&self) -> Vec<CutRequest> {
        let mut in_flight = Vec::new();
        for conn in self.snapshot() {
            conn.in_flight(&self.shared.clock, &mut in_flight);
        }
        in_flight
    }

    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>) {
        let now = self.shared.clock.now();
        let (mut count, mut oldest) = (0, Vec::new());
        for conn in self.snapshot() {
            conn.each_in_flight(|one| {
                count += 1;
                let at = oldest.partition_point(|(other, _)| *other <= one.began);
                if at < most {
                    oldest.truncate(most - 1);
                    oldest.insert(at, (one.began, one.named(now)));
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

    fn timed_out(&self) -> u64 {
        self.shared.timed_out()
    }

    fn client_gone(&self) -> u64 {
        self.shared.client_gone()
    }

    fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// The registration of a connection until the drop of its IO, which an upgrade takes along.
pub(crate) struct ConnGuard {
    pub server: Arc<Shared>,
    registry: Arc<Registry>,
    pub conn: Arc<Conn>,
    slot: usize,
    /// `None` once the connection has seen the drain and is idle.
    busy: Option<TallyGuard>,
    _all: TallyGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnGuard {
    pub(crate) fn open(
        registry: &Arc<Registry>,
        mut info: ConnInfo,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        // The fields are public.
        info.peer = info.peer.map(folded);
        info.local = info.local.map(folded);
        let server = registry.shared.clone();
        let conn = Arc::new(Conn::new(info, server.clock.now(), registry.seed()));
        let guard = ConnGuard {
            slot: registry.register(conn.clone()),
            registry: registry.clone(),
            server,
            conn,
            busy: Some(Tally::enter(&registry.busy)),
            _all: Tally::enter(&registry.all),
            _permit: permit,
        };
        let event = || Event::Opened { peer: info.peer };
        guard.server.events.emit(event);
        guard
    }

    /// Releases the drain: nothing is in flight here.
    pub(crate) fn release(&mut self) {
        self.busy = None;
    }

    /// Makes the drain wait again: a request is in flight.
    pub(crate) fn hold(&mut self) {
        if self.busy.is_none() {
            self.busy = Some(Tally::enter(&self.registry.busy));
        }
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        self.registry.deregister(self.slot, &self.conn);
        // Its last activity points back at it.
        self.conn.set_activity(None);
        let why = self.conn.why();
        self.server.events.emit(|| Event::Closed {
            peer: self.conn.info.peer,
            why,
        });
    }
}
