use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::PathAndQuery;
use http::{Method, Request};
use slab::Slab;
use tokio::time::Instant;

use crate::conn_info::peer_and_arrival_of;
use crate::control::Fact;
use crate::route::Route;
use crate::served;
use crate::sync::Lock;
use crate::track::{BodyEnd, Guard, Tally};
use std::net::SocketAddr;

/// The requests in flight, sharded so that threads rarely contend. Slots are reused: entering does not allocate once a
/// shard has grown to its working size, and method and path are shared rather than copied.
pub(super) struct Registry {
    pub tally: Tally,
    pub peak: AtomicUsize,
    shards: Box<[Lock<Slab<Entry>>]>,
}

pub(super) struct Entry {
    pub method: Method,
    /// Shared with the request rather than copied.
    pub target: Option<PathAndQuery>,
    pub route: Option<Route>,
    pub peer: Option<SocketAddr>,
    pub started: Instant,
}

/// A request, in flight until this guard is dropped.
// Named by a public type that is to be used by its alias alone.
#[allow(unnameable_types)]
pub struct InFlightGuard {
    registry: Arc<Registry>,
    shard: usize,
    slot: usize,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(64);
        Registry {
            tally: Tally::new(),
            peak: AtomicUsize::new(0),
            shards: (0..shards).map(|_| Lock::default()).collect(),
        }
    }

    /// Adds a request. `is_grpc`: it is a [call](crate::grpc::is_call).
    pub(crate) fn enter<B>(this: &Arc<Self>, request: &Request<B>, is_grpc: bool) -> InFlightGuard {
        let route = Route::of(request, is_grpc);
        if let Some(route) = &route {
            served::learn(request.extensions(), Fact::Route(route));
        }
        let (peer, started) = peer_and_arrival_of(request.extensions());
        let entry = Entry {
            method: request.method().clone(),
            target: request.uri().path_and_query().cloned(),
            route,
            peer,
            started,
        };
        let shard = this_thread() & (this.shards.len() - 1);
        let slot = this.shard(shard, |slab| slab.insert(entry));
        let count = this.tally.add();
        // Relaxed, and loaded first: the peak is a gauge that orders nothing, and it rarely rises.
        if count > this.peak.load(Ordering::Relaxed) {
            this.peak.fetch_max(count, Ordering::Relaxed);
        }
        InFlightGuard {
            registry: this.clone(),
            shard,
            slot,
        }
    }

    /// The lock covers a single operation on a slab, which cannot panic half way: a poisoned lock is as good as any.
    fn shard<T>(&self, shard: usize, with: impl FnOnce(&mut Slab<Entry>) -> T) -> T {
        with(&mut self.shards[shard].lock())
    }

    /// Visits all requests in flight, one shard at a time.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Entry)) {
        for shard in 0..self.shards.len() {
            self.shard(shard, |slab| {
                slab.iter().for_each(|(_, entry)| visit(entry))
            });
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let entry = self
            .registry
            .shard(self.shard, |slab| slab.try_remove(self.slot));
        drop(entry);
        self.registry.tally.remove();
    }
}

impl fmt::Debug for InFlightGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightGuard").finish_non_exhaustive()
    }
}

/// `None` where requests are not counted.
impl Guard for Option<InFlightGuard> {
    fn end(self, _: BodyEnd) {}
}

/// Returns a small number per thread, assigned round-robin.
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static THIS: Cell<usize> = const { Cell::new(usize::MAX) });
    THIS.with(|this| {
        if this.get() == usize::MAX {
            this.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        this.get()
    })
}
