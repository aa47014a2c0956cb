//! An adapter to governor, which does the arithmetic: one limiter per quota, whose "store" is the state that we pass
//! in.

use std::cell::Cell;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::decision::Decision;

/// The maximum number of quotas of a limiter.
pub(super) const MAX_QUOTAS: usize = 4;

/// The time at which each quota is full again (GCRA's theoretical arrival time). A time in the past is equivalent to
/// none: this is why a key may be dropped without loss once all its times have passed.
pub(super) type Times = [u64; MAX_QUOTAS];

type Limiter = RateLimiter<State, Inside, Now, StateInformationMiddleware>;

/// The limiters, one per quota. They belong to one shard and run under its lock, so that a cell can pass them the time:
/// the clock is read once per request, however many quotas there are.
#[derive(Debug)]
pub(super) struct Limits(Vec<Limiter>);

impl Limits {
    pub(super) fn new(quotas: &[governor::Quota]) -> Self {
        let limiter = |quota: &governor::Quota| Limiter::new(*quota, Inside, Now(Cell::new(0)));
        Limits(quotas.iter().map(limiter).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes one request from every quota, or reports which one is exhausted. Store `times` only if the request is
    /// admitted, so that a refused request consumes nothing of any quota.
    ///
    /// `now` never goes backwards; `read` is the clock's reading. They differ only if the clock went backwards; the
    /// wait is then given as that clock will count it.
    pub(super) fn take(&self, now: u64, read: u64, times: &mut Times) -> Decision {
        let mut tightest = Decision {
            admitted: true,
            wait: Duration::ZERO,
            quota: 0,
            remaining: u32::MAX,
            reset: Duration::ZERO,
        };
        for (quota, (limiter, time)) in self.0.iter().zip(times).enumerate() {
            limiter.clock().0.set(now);
            let state = State(Cell::new(Nanos::new(*time)));
            match limiter.check_key(&state) {
                Ok(snapshot) => {
                    *time = state.0.get().as_u64();
                    let remaining = snapshot.remaining_burst_capacity();
                    if tightest.admitted && remaining < tightest.remaining {
                        tightest.quota = quota;
                        tightest.remaining = remaining;
                        tightest.reset = until(*time, read);
                    }
                }
                Err(refused) => {
                    // All quotas are examined even after a refusal: the wait is the longest of all, or a client that
                    // waited would be refused again.
                    let wait = refused.wait_time_from(Nanos::new(read));
                    if tightest.admitted || wait > tightest.wait {
                        tightest = Decision {
                            admitted: false,
                            wait,
                            quota,
                            remaining: 0,
                            reset: until(*time, read),
                        };
                    }
                }
            }
        }
        tightest
    }
}

pub(super) fn until(time: u64, now: u64) -> Duration {
    Duration::from_nanos(time.saturating_sub(now))
}

/// The key given to governor, which carries the state in and out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State(Cell<Nanos>);

/// Required by governor, but never called.
impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0.get().as_u64());
    }
}

#[derive(Debug)]
struct Inside;

impl StateStore for Inside {
    type Key = State;

    fn measure_and_replace<T, F, E>(&self, state: &State, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(state.0.get()))?;
        state.0.set(next);
        Ok(outcome)
    }
}

/// The time that was already read; 0 while the limiter is built, which makes 0 its origin.
#[derive(Debug)]
struct Now(Cell<u64>);

impl clock::Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}
