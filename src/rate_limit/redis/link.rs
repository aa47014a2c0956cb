//! The single connection and its breaker: up, or away with one task that reconnects.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::connect::{IN_FLIGHT, MAX_PAUSE, MIN_PAUSE, Settings, connect, jittered, longer};
use super::error::Slow;
use crate::events::{Event, EventSink, Hub};
use crate::sync::Lock;

/// The number of consecutive slow answers or refusals that open the breaker. A lost connection opens it at once.
pub(super) const MAX_FAILURES: u32 = 5;

/// The state shared by the clones of a limiter.
pub(super) struct Link {
    pub(super) settings: Settings,
    /// The sinks of the layers that use the limiter, in addition to the configured one.
    hub: Arc<Hub>,
    state: watch::Sender<State>,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) fallbacks: AtomicU64,
    /// `true` once the outage has been reported, until Redis is back.
    reported: AtomicBool,
    /// The handle of the single task that connects.
    search: Lock<Option<AbortHandle>>,
}

#[derive(Clone)]
pub(super) enum State {
    /// No query has been made yet.
    Idle,
    /// Queries wait for the first connection.
    Connecting,
    Up(Arc<Connected>),
    /// A task reconnects; queries go to the local limiter.
    Away,
}

pub(super) struct Connected {
    pub(super) redis: MultiplexedConnection,
    /// The number of consecutive failures.
    failures: AtomicU32,
    since: Instant,
    /// The pause that preceded this connection.
    pause: Duration,
}

impl Link {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let hub = Arc::<Hub>::default();
        settings.events.add_to(&hub);
        Arc::new(Link {
            hub,
            settings,
            state: watch::Sender::new(State::Idle),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            fallbacks: AtomicU64::new(0),
            reported: AtomicBool::new(false),
            search: Lock::new(None),
        })
    }

    pub(super) fn listen(&self, events: &EventSink) {
        events.add_to(&self.hub);
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(*self.state.borrow(), State::Away)
    }

    pub(super) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the connection, waiting for the first one; `None` if Redis is away.
    pub(super) async fn connection(self: &Arc<Self>) -> Option<Arc<Connected>> {
        let now = self.state.borrow().clone();
        match now {
            State::Up(connected) => return Some(connected),
            State::Away => return None,
            State::Connecting => {}
            State::Idle => {
                let first = self.state.send_if_modified(|state| {
                    let first = matches!(state, State::Idle);
                    if first {
                        *state = State::Connecting;
                    }
                    first
                });
                if first {
                    self.search(Duration::ZERO);
                }
            }
        }
        let mut changes = self.state.subscribe();
        let settled = changes
            .wait_for(|state| matches!(state, State::Up(_) | State::Away))
            .await;
        match settled.as_deref() {
            Ok(State::Up(connected)) => Some(connected.clone()),
            _ => None,
        }
    }

    /// Records an answer.
    pub(super) fn answered(connected: &Connected) {
        // The counter is nearly always 0 already: avoid a write to a cache line that all threads share.
        if connected.failures.load(Ordering::Relaxed) != 0 {
            connected.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure on this connection. `lost` means that the connection is unusable.
    pub(super) fn failed(
        self: &Arc<Self>,
        connected: &Arc<Connected>,
        lost: bool,
        error: &(dyn Error + 'static),
    ) {
        let failures = connected.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !lost && failures < MAX_FAILURES {
            return;
        }
        // Affects only the connection it belongs to: a late answer says nothing about the next connection.
        let opened = self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up(now) if Arc::ptr_eq(now, connected));
            if ours {
                *state = State::Away;
            }
            ours
        });
        if opened {
            // Must precede the search, which reports its own end.
            self.report_away(error);
            // The connection was lost again soon: the pauses keep growing.
            let flapping = connected.since.elapsed() < 2 * MAX_PAUSE;
            self.search(match flapping {
                true => longer(connected.pause),
                false => MIN_PAUSE,
            });
        }
    }

    /// Starts the single task that connects.
    fn search(self: &Arc<Self>, pause: Duration) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.state.send_replace(State::Idle);
            return;
        };
        let unfinished = Unfinished::of(self);
        let task = runtime.spawn(search(unfinished, self.settings_of_search(), pause));
        let mut slot = self.search.lock();
        *slot = Some(task.abort_handle());
    }

    /// Returns a copy without the listener, which does not keep the link alive.
    fn settings_of_search(&self) -> Settings {
        Settings {
            events: EventSink::none(),
            ..self.settings.clone()
        }
    }

    /// Reports that there was no first connection in time.
    pub(super) fn away(&self, error: &(dyn Error + 'static)) {
        let opened = self.state.send_if_modified(|state| {
            let opened = matches!(state, State::Connecting);
            if opened {
                *state = State::Away;
            }
            opened
        });
        if opened {
            self.report_away(error);
        }
    }

    #[allow(clippy::disallowed_methods)] // once a connection
    pub(super) fn up(&self, redis: MultiplexedConnection, pause: Duration) {
        let connected = Arc::new(Connected {
            redis,
            failures: AtomicU32::new(0),
            since: Instant::now(),
            pause,
        });
        self.state.send_replace(State::Up(connected));
        if self.reported.swap(false, Ordering::Relaxed) {
            self.hub.emit(&Event::RateLimitRestored);
        }
    }

    fn report_away(&self, error: &(dyn Error + 'static)) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            self.hub.emit(&Event::RateLimitFallback { error });
        }
    }

    /// Records that no task searches any longer: the next query starts over.
    pub(super) fn unfinished(&self) {
        self.state.send_if_modified(|state| {
            let unfinished = matches!(state, State::Connecting | State::Away);
            if unfinished {
                *state = State::Idle;
            }
            unfinished
        });
    }
}

/// Ends the search with the last limiter, even during a pause.
impl Drop for Link {
    fn drop(&mut self) {
        let mut slot = self.search.lock();
        if let Some(task) = slot.take() {
            task.abort();
        }
    }
}

/// A search that has found nothing yet. If its runtime ends first, the next query (on another runtime) starts another
/// search.
struct Unfinished(Weak<Link>);

impl Unfinished {
    fn of(link: &Arc<Link>) -> Self {
        Unfinished(Arc::downgrade(link))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.unfinished();
        }
    }
}

/// Runs until there is a connection, or no limiter.
async fn search(mut unfinished: Unfinished, settings: Settings, mut pause: Duration) {
    loop {
        let link = &unfinished.0;
        if !pause.is_zero() {
            tokio::time::sleep(jittered(pause)).await;
        }
        let mut attempt = std::pin::pin!(connect(&settings));
        let outcome = match timeout(settings.deadline, &mut attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // From now on no query waits, not even for its deadline.
                let Some(link) = link.upgrade() else { return };
                link.away(&Slow(settings.deadline));
                drop(link);
                attempt.await
            }
        };
        let Some(link) = link.upgrade() else { return };
        match outcome {
            Ok(redis) => {
                // Must precede the publication: the next search may begin at once.
                unfinished.0 = Weak::new();
                link.up(redis, pause);
                return;
            }
            Err(error) => link.away(&*error),
        }
        pause = longer(pause);
    }
}
