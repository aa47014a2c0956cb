use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::recent_events::RecentEvents;
use super::snapshot::{self, AFTER, BEFORE};
use super::state::{Mark, Shared, Snapshot};
use crate::allowed_hosts::AllowedHosts;
use crate::events::EventSink;
use crate::in_flight::InFlightHandle;
use crate::shutdown::ShutdownHandle;
use crate::single_flight::SingleFlight;

/// The time for which a snapshot is reused while the phase does not change, whatever happens. It bounds the cost of all
/// watchers together, above all under a flood of events.
const FRESH: Duration = Duration::from_millis(50);

/// The status page, a tower service; see the [module](super). Clones share its state.
#[derive(Clone)]
pub struct StatusPage {
    pub(super) shared: Arc<Shared>,
}

impl StatusPage {
    /// Creates a page for this shutdown, with the title `lameduck`. It shows the events that its
    /// [hub](ShutdownHandle::listen) receives from now on.
    pub fn new(handle: &ShutdownHandle) -> Self {
        let recent_events = Arc::new(RecentEvents::new());
        let recorder = recent_events.clone();
        let listener = EventSink::to(move |event| recorder.record(event));
        handle.listen(listener.clone());
        StatusPage {
            shared: Arc::new(Shared {
                handle: handle.clone(),
                title: "lameduck".to_owned(),
                in_flight: None,
                recent_events,
                listener,
                watchers: Arc::default(),
                instance: RandomState::new().hash_one(0),
                hosts: AllowedHosts::private(),
                snapshots: SingleFlight::new(),
            }),
        }
    }

    fn with(self, change: impl FnOnce(&mut Shared)) -> Self {
        let Shared {
            handle,
            title,
            in_flight,
            recent_events,
            listener,
            watchers,
            instance,
            hosts,
            snapshots: _,
        } = &*self.shared;
        let mut shared = Shared {
            handle: handle.clone(),
            title: title.clone(),
            in_flight: in_flight.clone(),
            recent_events: recent_events.clone(),
            listener: listener.clone(),
            watchers: watchers.clone(),
            instance: *instance,
            hosts: hosts.clone(),
            snapshots: SingleFlight::new(),
        };
        change(&mut shared);
        StatusPage {
            shared: Arc::new(shared),
        }
    }

    /// Sets the title, which names the service and its instance: `shop / i-0abc`.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        self.with(|shared| shared.title = title.into())
    }

    /// Sets the host names for which the page is served; see [`AllowedHosts`]. Default: [`AllowedHosts::private`].
    #[must_use]
    pub fn allowed_hosts(self, hosts: AllowedHosts) -> Self {
        self.with(|shared| shared.hosts = hosts)
    }

    /// Adds the matched routes of requests in flight, as far as this handle's layer knows them (feature `axum`), and
    /// the peak of their number. Requests are matched by method and path.
    #[must_use]
    pub fn in_flight(self, in_flight: InFlightHandle) -> Self {
        self.with(|shared| shared.in_flight = Some(in_flight))
    }

    /// Returns the listener that feeds the list of events, always the same one, for components that do not emit to the
    /// shutdown's hub.
    ///
    /// It costs one relaxed increment when a connection opens or closes. A timeout, a refusal, a cut, a failure or a
    /// phase takes a mutex for less than a microsecond; a client's address costs nothing.
    pub fn event_sink(&self) -> EventSink {
        self.shared.listener.clone()
    }
}

impl Shared {
    /// Returns the current state as a server-sent event, with the position it covers at least.
    pub(crate) async fn event(&self) -> (Bytes, Mark) {
        let still_fits = |last: &Snapshot| {
            let now = self.mark();
            let moved = (last.of.phase, last.of.over) != (now.phase, now.over);
            !moved && last.made.elapsed() < FRESH
        };
        let make = || {
            let of = self.mark();
            Snapshot {
                event: Bytes::from(snapshot::event(self)),
                made: Instant::now(),
                of,
            }
        };
        // Paired with its position: a watcher that gets an older snapshot is woken again.
        let snapshot = self.snapshots.get(still_fits, make).await;
        (snapshot.event, snapshot.of)
    }

    /// Returns the current state as a document.
    pub(crate) async fn document(&self) -> Bytes {
        let (event, _) = self.event().await;
        // One line feed stays, for terminals.
        event.slice(BEFORE.len()..event.len() - AFTER.len() + 1)
    }
}

impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusPage")
            .field("title", &self.shared.title)
            .field("watchers", &self.shared.watchers)
            .finish_non_exhaustive()
    }
}
