use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::happenings::Happenings;
use super::snapshot::{self, AFTER, BEFORE};
use super::state::{Mark, Shared, Snapshot};
use crate::allowed_hosts::AllowedHosts;
use crate::events::Events;
use crate::in_flight::InFlightHandle;
use crate::shutdown::Handle;
use crate::single_flight::SingleFlight;

/// As long as the phase does not move, a snapshot is good for this long, whatever happens: what all watchers
/// together cost is bounded by it, most of all while very much happens.
const FRESH: Duration = Duration::from_millis(50);

/// The status page: a tower service; see the [module](super). Clones share what it knows.
#[derive(Clone)]
pub struct StatusPage {
    pub(super) shared: Arc<Shared>,
}

impl StatusPage {
    /// Shows this shutdown, and what is emitted at its [hub](Handle::listen) from now on; its title is `lameduck`.
    pub fn new(handle: &Handle) -> Self {
        let happenings = Arc::new(Happenings::new());
        let hears = happenings.clone();
        let listener = Events::to(move |event| hears.tell(event));
        handle.listen(listener.clone());
        StatusPage {
            shared: Arc::new(Shared {
                handle: handle.clone(),
                title: "lameduck".to_owned(),
                in_flight: None,
                happenings,
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
            happenings,
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
            happenings: happenings.clone(),
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

    /// What it calls itself: the service and its instance, `shop / i-0abc`.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        self.with(|shared| shared.title = title.into())
    }

    /// Sets the host names for which the page is served; see [`AllowedHosts`]. Default:
    /// [`AllowedHosts::private`].
    #[must_use]
    pub fn allowed_hosts(self, hosts: AllowedHosts) -> Self {
        self.with(|shared| shared.hosts = hosts)
    }

    /// Names the matched routes of requests in flight, as far as this handle's layer knows them (feature
    /// `axum`), and the most there were at once. A request is found by its method and path.
    #[must_use]
    pub fn in_flight(self, in_flight: InFlightHandle) -> Self {
        self.with(|shared| shared.in_flight = Some(in_flight))
    }

    /// Returns the listener that feeds the list of what happened, always the same one, for what does not emit at the
    /// shutdown's hub.
    ///
    /// It costs one relaxed increment when a connection opens or closes; for a timeout, a refusal, a cut, a
    /// failure or a phase a mutex for less than a microsecond; for a client's address nothing.
    pub fn events(&self) -> Events {
        self.shared.listener.clone()
    }
}

impl Shared {
    /// The state of now as an event, and what it has seen at least.
    pub async fn event(&self) -> (Bytes, Mark) {
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
        // With what it has seen: whoever gets an older one is told again.
        let snapshot = self.snapshots.get(still_fits, make).await;
        (snapshot.event, snapshot.of)
    }

    /// The state of now as a document.
    pub async fn document(&self) -> Bytes {
        let (event, _) = self.event().await;
        // One line feed stays, for the terminal.
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
