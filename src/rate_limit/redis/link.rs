//! The one connection, and the breaker: up, or away with one task that looks for it.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::error::Slow;
use super::script::Gcra;
use crate::events::{Event, Events};

/// So many questions wait for their answers at once. What is over it is asked of the local limiter: a Redis
/// that hangs piles up no memory.
pub(super) const IN_FLIGHT: usize = 1024;
/// So many slow answers or refusals in a row, and Redis is away. A lost connection is one at once.
pub(super) const IN_A_ROW: u32 = 5;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// To connect, or to authenticate. Nobody waits for that long: questions have their deadline.
const CONNECT: Duration = Duration::from_secs(1);

/// What is set.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) client: Client,
    pub(super) deadline: Duration,
    pub(super) prefix: Arc<str>,
    pub(super) events: Events,
    pub(super) gcra: Arc<Gcra>,
}

/// What the clones of a limiter share.
pub(super) struct Link {
    pub(super) settings: Settings,
    state: watch::Sender<State>,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) fallbacks: AtomicU64,
    /// Of the one task that connects.
    search: Mutex<Option<AbortHandle>>,
}

#[derive(Clone)]
pub(super) enum State {
    /// Nothing was asked yet.
    Idle,
    /// Questions wait for the first connection.
    Connecting,
    Up(Arc<Connected>),
    /// A task looks for Redis; questions are for the local limiter.
    Away,
}

pub(super) struct Connected {
    pub(super) redis: MultiplexedConnection,
    /// In a row.
    failures: AtomicU32,
    since: Instant,
    /// How long was waited before it.
    pause: Duration,
}

impl Link {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Link {
            settings,
            state: watch::Sender::new(State::Idle),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            fallbacks: AtomicU64::new(0),
            search: Mutex::new(None),
        })
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(*self.state.borrow(), State::Away)
    }

    pub(super) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// The connection, once there is one; `None` when Redis is away.
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

    /// An answer came.
    pub(super) fn answered(connected: &Connected) {
        // Nearly always it is 0 already: no write that all threads would share.
        if connected.failures.load(Ordering::Relaxed) != 0 {
            connected.failures.store(0, Ordering::Relaxed);
        }
    }

    /// No answer came over this connection. `lost`: and none will.
    pub(super) fn failed(
        self: &Arc<Self>,
        connected: &Arc<Connected>,
        lost: bool,
        error: &(dyn Error + 'static),
    ) {
        let in_a_row = connected.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !lost && in_a_row < IN_A_ROW {
            return;
        }
        // Only of this connection: a late answer says nothing about the next one.
        let opened = self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up(now) if Arc::ptr_eq(now, connected));
            if ours {
                *state = State::Away;
            }
            ours
        });
        if opened {
            // Before the search, which tells of its end.
            self.settings
                .events
                .tell(|| Event::RateLimitFallback { error });
            // Lost again at once: the pauses go on growing.
            let flapping = connected.since.elapsed() < 2 * LONGEST_PAUSE;
            self.search(match flapping {
                true => longer(connected.pause),
                false => SHORTEST_PAUSE,
            });
        }
    }

    /// Starts the one task that connects.
    fn search(self: &Arc<Self>, pause: Duration) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.state.send_replace(State::Idle);
            return;
        };
        let unfinished = Unfinished(Arc::downgrade(self));
        let task = runtime.spawn(search(unfinished, self.settings_of_search(), pause));
        let mut slot = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(task.abort_handle());
    }

    /// A copy, without the listener, that does not keep the link alive.
    fn settings_of_search(&self) -> Settings {
        Settings {
            events: Events::none(),
            ..self.settings.clone()
        }
    }

    fn away(&self, error: &(dyn Error + 'static)) {
        let opened = self.state.send_if_modified(|state| {
            let opened = matches!(state, State::Connecting);
            if opened {
                *state = State::Away;
            }
            opened
        });
        if opened {
            self.settings
                .events
                .tell(|| Event::RateLimitFallback { error });
        }
    }

    fn up(&self, redis: MultiplexedConnection, pause: Duration) {
        let connected = Arc::new(Connected {
            redis,
            failures: AtomicU32::new(0),
            since: Instant::now(),
            pause,
        });
        let before = self.state.send_replace(State::Up(connected));
        if matches!(before, State::Away) {
            self.settings.events.tell(|| Event::RateLimitRestored);
        }
    }
}

/// With the last limiter the search ends, in the middle of a pause too.
impl Drop for Link {
    fn drop(&mut self) {
        let slot = self
            .search
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = slot.take() {
            task.abort();
        }
    }
}

/// The search, as long as it has found nothing. When its runtime ends before that, the next question (on
/// another runtime) starts another.
struct Unfinished(Weak<Link>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.state.send_if_modified(|state| {
                let unfinished = matches!(state, State::Connecting | State::Away);
                if unfinished {
                    *state = State::Idle;
                }
                unfinished
            });
        }
    }
}

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
                // Nobody waits any longer, from now on not even for the deadline.
                let Some(link) = link.upgrade() else { return };
                link.away(&Slow(settings.deadline));
                drop(link);
                attempt.await
            }
        };
        let Some(link) = link.upgrade() else { return };
        match outcome {
            Ok(redis) => {
                // Done before it shows: the next search may begin at once.
                unfinished.0 = Weak::new();
                link.up(redis, pause);
                return;
            }
            Err(error) => link.away(&*error),
        }
        pause = longer(pause);
    }
}

/// A connection that has answered a question as quickly as it has to.
async fn connect(
    settings: &Settings,
) -> Result<MultiplexedConnection, Box<dyn Error + Send + Sync>> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT.max(settings.deadline)))
        .set_response_timeout(Some(CONNECT.max(settings.deadline)))
        .set_pipeline_buffer_size(IN_FLIGHT);
    let mut redis = settings
        .client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    settings.gcra.load(&mut redis).await?;
    let probe = settings.gcra.probe(&settings.prefix);
    match timeout(settings.deadline, settings.gcra.ask(&probe, &mut redis)).await {
        Ok(answer) => answer.map(drop).or_else(well)?,
        Err(_) => return Err(Slow(settings.deadline).into()),
    }
    Ok(redis)
}

/// Somebody's value under the probe's key is no reason to stay away.
fn well(error: RedisError) -> Result<(), RedisError> {
    match super::script::only_this_key(&error) {
        true => Ok(()),
        false => Err(error),
    }
}

fn longer(pause: Duration) -> Duration {
    (2 * pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Between half of it and all of it: instances that lost Redis together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + (pause / 2) * u32::try_from(random).unwrap_or(0) / 1024
}
