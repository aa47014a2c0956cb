use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;

use super::facts::Facts;
use super::notices::Notices;
use super::observers::Observers;
use super::order::{Order, Orders};
use super::reload::Reloads;
use super::server::DrainServer;
use super::workers::Workers;
use super::{Cause, ConnectionCounts, CutRequest, Report};
use crate::events::{Event, EventSink};
use crate::phase::{Lifecycle, Phase};
use crate::sync::Lock;

/// A handle for the rest of a process to take part in its shutdown: it reads the phase, begins the shutdown from code,
/// and runs workers that are asked to stop. Clones share it.
#[derive(Clone)]
pub struct ShutdownHandle {
    shared: Arc<Shared>,
}

struct Shared {
    lifecycle: Lifecycle,
    orders: Orders,
    workers: Workers,
    servers: Lock<Vec<Arc<dyn DrainServer>>>,
    drain_deadline: OnceLock<Instant>,
    observers: Observers,
    /// The duration of the drain, once it has ended.
    drained: OnceLock<Duration>,
    /// `true` once a server drives the shutdown: from then on it emits events.
    driven: AtomicBool,
    ready_told: AtomicBool,
    facts: Arc<Facts>,
    notices: Notices,
    /// The number of requested reloads.
    reloads: watch::Sender<u64>,
}

impl ShutdownHandle {
    pub(super) fn new() -> Self {
        ShutdownHandle {
            shared: Arc::new(Shared {
                lifecycle: Lifecycle::new(),
                orders: Orders::new(),
                workers: Workers::new(),
                servers: Lock::default(),
                drain_deadline: OnceLock::new(),
                observers: Observers::new(),
                drained: OnceLock::new(),
                driven: AtomicBool::new(false),
                ready_told: AtomicBool::new(false),
                facts: Arc::default(),
                notices: Notices::new(),
                reloads: watch::Sender::new(0),
            }),
        }
    }

    /// Returns `true` if both belong to the same shutdown.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the process's phase.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.shared.lifecycle
    }

    /// Ends the start-up: from [`Phase::Starting`] to [`Phase::Ready`].
    ///
    /// It does nothing when the shutdown has begun, or a signal has come that will begin it.
    pub fn ready(&self) {
        if self.orders().current() == Order::Serve && self.lifecycle().advance(Phase::Ready) {
            self.emit_ready();
        }
    }

    /// Emits the event once: from the call that made the process ready, or if nothing drove the shutdown yet, from the
    /// driver's start.
    fn emit_ready(&self) {
        // SeqCst, between each side's write and its read of the other's: one of them sees it.
        fence(Ordering::SeqCst);
        let ready = self.lifecycle().entered(Phase::Ready).is_some();
        let driven = self.shared.driven.load(Ordering::SeqCst);
        if ready && driven && !self.shared.ready_told.swap(true, Ordering::Relaxed) {
            self.emit(|| Event::Phase(Phase::Ready));
        }
    }

    /// Begins the whole sequence, as SIGTERM does.
    #[doc(alias("graceful_shutdown"))]
    pub fn shutdown(&self) {
        self.note_use();
        self.orders().give(Order::Leave, Cause::Called);
    }

    /// Begins the sequence without the lame-duck wait, as SIGINT does.
    pub fn drain_now(&self) {
        self.note_use();
        self.orders().give(Order::LeaveNow, Cause::Called);
    }

    /// Ends everything at once, as a second signal does.
    pub fn cut(&self) {
        self.note_use();
        self.orders().give(Order::Cut, Cause::Called);
    }

    /// Counts the open connections of this shutdown's servers by state. Visits every connection: call it once per
    /// scrape, not per request.
    pub fn connections(&self) -> ConnectionCounts {
        let mut counts = ConnectionCounts::default();
        for server in self.servers() {
            server.count(&mut counts);
        }
        counts
    }

    /// Returns the requests in flight on the connections of this shutdown's servers, the oldest first: those that a cut
    /// would end and name now. Upgraded connections are among them.
    pub fn in_flight(&self) -> Vec<CutRequest> {
        let servers = self.servers();
        let mut in_flight: Vec<_> = servers
            .iter()
            .flat_map(|server| server.in_flight())
            .collect();
        in_flight.sort_by_key(|request| std::cmp::Reverse(request.age));
        in_flight
    }

    /// Returns the number of requests in flight, and at most so many of the oldest ones.
    #[cfg(feature = "status")]
    pub(crate) fn oldest_in_flight(&self, most: usize) -> (usize, Vec<CutRequest>) {
        let (mut count, mut oldest) = (0, Vec::new());
        for server in self.servers() {
            let of_server = server.oldest(most);
            count += of_server.0;
            oldest.extend(of_server.1);
        }
        oldest.sort_by_key(|request| std::cmp::Reverse(request.age));
        oldest.truncate(most);
        (count, oldest)
    }

    /// Returns the time at which requests still in flight will be cut; `None` before the drain has begun.
    pub fn drain_deadline(&self) -> Option<Instant> {
        self.shared.drain_deadline.get().copied()
    }

    pub(super) fn set_drain_deadline(&self, deadline: Instant) {
        // There is one drain.
        let _ = self.shared.drain_deadline.set(deadline);
    }

    /// Returns the report; `None` until the shutdown has ended.
    pub fn report(&self) -> Option<Arc<Report>> {
        self.shared.observers.report()
    }

    /// Waits for the end, and returns the report: for a response of a server that
    /// [observes](crate::serve::Serve::observe) this shutdown, and is still there then.
    pub async fn reported(&self) -> Arc<Report> {
        self.shared.observers.reported().await
    }

    /// Returns a stream of SIGHUPs, for a task that reads certificates or configuration again. Without one SIGHUP is
    /// ignored.
    ///
    /// ```
    /// # fn reload_certificates() {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let shutdown = lameduck::Shutdown::new();
    /// let handle = shutdown.handle();
    /// let mut reloads = handle.reloads();
    /// handle.spawn_worker("reload", |stop| async move {
    ///     loop {
    ///         tokio::select! {
    ///             () = stop.cancelled() => return,
    ///             () = reloads.next() => reload_certificates(),
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    pub fn reloads(&self) -> Reloads {
        self.note_use();
        Reloads::new(self.shared.reloads.subscribe())
    }

    pub(super) fn reload(&self) {
        self.shared
            .reloads
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Adds listeners to the hub of this shutdown: they receive the events of the shutdown, of the servers and
    /// connections that take part in it, and of all that is made from this handle or its [lifecycle](Self::lifecycle),
    /// before and after this call. A listener that is there already is not added again.
    pub fn listen(&self, events: EventSink) {
        self.lifecycle().listen(events);
    }

    /// Returns a sink that emits to the hub of this shutdown, for parts that are not made from this handle.
    pub fn event_sink(&self) -> EventSink {
        self.lifecycle().event_sink()
    }

    pub(super) fn set_driven(&self) {
        self.shared.driven.store(true, Ordering::SeqCst);
        self.emit_ready();
    }

    pub(super) fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if self.shared.driven.load(Ordering::Relaxed) {
            self.event_sink().emit(event);
        }
    }

    pub(super) fn set_drained(&self, took: Duration) {
        // There is one sequence, and it drains once.
        let _ = self.shared.drained.set(took);
    }

    /// Returns the duration of the drain; `None` until it has ended.
    #[cfg(feature = "metrics")]
    pub(crate) fn drained(&self) -> Option<Duration> {
        self.shared.drained.get().copied()
    }

    /// Returns the cause of the shutdown; a phase that was moved by hand counts as a call.
    pub(crate) fn cause(&self) -> Cause {
        self.orders().cause().unwrap_or(Cause::Called)
    }

    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.shared.facts
    }

    pub(super) fn notices(&self) -> &Notices {
        &self.shared.notices
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.shared.orders
    }

    pub(super) fn workers_of(&self) -> &Workers {
        &self.shared.workers
    }

    pub(crate) fn register(&self, server: Arc<dyn DrainServer>) {
        self.note_use();
        let mut servers = self.shared.servers.lock();
        servers.push(server.clone());
        drop(servers);
        // After the drain no server is waited for: it must end as those that were cut.
        if self.shared.drained.get().is_some() || self.lifecycle().phase() == Phase::Closed {
            drop(server.cut());
        }
    }

    pub(crate) fn enlist_observer(&self, lifecycle: Lifecycle, server: Arc<dyn DrainServer>) {
        self.note_use();
        self.observers().register(lifecycle, server);
    }

    pub(super) fn observers(&self) -> &Observers {
        &self.shared.observers
    }

    pub(super) fn servers(&self) -> Vec<Arc<dyn DrainServer>> {
        let servers = self.shared.servers.lock();
        servers.clone()
    }
}

impl fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownHandle")
            .field("lifecycle", self.lifecycle())
            .field("order", &self.orders().current())
            .finish_non_exhaustive()
    }
}
