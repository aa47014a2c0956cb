//! The limiter compared with plain arithmetic, for arbitrary quotas and arrivals.

use super::limits::MAX_QUOTAS;
use super::store::Store;
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// A token bucket in exact arithmetic: tokens are counted in nanoseconds, and one request costs an interval.
struct Bucket {
    interval: u128,
    capacity: u128,
    level: u128,
    at: u128,
}

impl Bucket {
    fn new(quota: &Quota) -> Self {
        let interval = quota.interval().as_nanos();
        let capacity = interval * u128::from(quota.largest_burst());
        Bucket {
            interval,
            capacity,
            level: capacity,
            at: 0,
        }
    }

    fn fill(&mut self, now: u128) {
        self.level = self.capacity.min(self.level + (now - self.at));
        self.at = now;
    }

    fn missing(&self) -> u128 {
        self.interval.saturating_sub(self.level)
    }
}

/// The model of one key: all buckets admit, or none is charged.
struct Model(Vec<Bucket>);

impl Model {
    /// Returns the wait; 0 if the request is admitted.
    fn take(&mut self, now: u128) -> u128 {
        for bucket in &mut self.0 {
            bucket.fill(now);
        }
        let wait = self.0.iter().map(Bucket::missing).max().unwrap();
        if wait == 0 {
            for bucket in &mut self.0 {
                bucket.level -= bucket.interval;
            }
        }
        wait
    }

    fn remaining(&self) -> u128 {
        let left = self.0.iter().map(|b| b.level / b.interval);
        left.min().unwrap()
    }
}

fn quota() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![
        1_u64..100,
        Just(1_000),
        Just(1_000_000_000),
        1..u64::from(u32::MAX)
    ];
    (1_u32..50, period, 1_u32..20).prop_map(|(requests, period, burst)| {
        let period = std::time::Duration::from_nanos(period * u64::from(requests));
        Quota::per(requests, period).burst(burst)
    })
}

/// A step of time: in intervals of the first quota and a few nanoseconds beside them, where the edges are; at random;
/// or backwards.
#[derive(Clone, Copy, Debug)]
enum Step {
    Intervals(u64, i64),
    Any(i64),
    /// Exactly the wait of the last refusal.
    AfterWait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..4, -2_i64..3).prop_map(|(n, beside)| Step::Intervals(n, beside)),
        2 => Just(Step::Intervals(0, 0)),
        1 => (-1_000_000_i64..10_000_000_000).prop_map(Step::Any),
        2 => Just(Step::AfterWait),
    ]
}

fn encoded(quotas: &[Quota]) -> Vec<governor::Quota> {
    quotas
        .iter()
        .map(|quota| quota.check().unwrap().encoded().unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The limiter, with room for few keys and a clock that may step back, agrees with the model in admission, wait and
    /// remainder; the model's time stands still instead. Sweeping must not be observable.
    #[test]
    fn it_behaves_like_a_token_bucket(
        quotas in prop::collection::vec(quota(), 1..=MAX_QUOTAS),
        arrivals in prop::collection::vec((step(), 0_u64..6), 1..200),
    ) {
        let store = Store::new(&encoded(&quotas), 6);
        let interval = quotas[0].interval().as_nanos() as u64;
        let mut models = HashMap::new();
        let (mut now, mut latest, mut wait) = (0_u64, 0_u64, 0_u64);
        for (step, key) in arrivals {
            now = match step {
                Step::Intervals(n, beside) => (now + n * interval).saturating_add_signed(beside),
                Step::Any(by) => now.saturating_add_signed(by),
                Step::AfterWait => now + wait,
            };
            latest = latest.max(now);
            let outcome = store.take(&Key::from(key), now, WhenFull::Forget);
            let decision = outcome.decision;
            let model = models
                .entry(key)
                .or_insert_with(|| Model(quotas.iter().map(Bucket::new).collect()));
            let expected = model.take(u128::from(latest));
            prop_assert_eq!(decision.admitted, expected == 0);
            prop_assert!(!outcome.full, "there is room for all");
            if decision.admitted {
                prop_assert_eq!(u128::from(decision.remaining), model.remaining());
                prop_assert_eq!(decision.wait.as_nanos(), 0);
            } else {
                // As the clock that was read will count it.
                let behind = u128::from(latest - now);
                prop_assert_eq!(decision.wait.as_nanos(), expected + behind);
                wait = decision.wait.as_nanos() as u64;
            }
        }
    }

    /// A client that returns exactly after the wait is admitted, and one that returns a nanosecond earlier is not.
    #[test]
    fn the_wait_is_exact(quotas in prop::collection::vec(quota(), 1..=MAX_QUOTAS)) {
        let store = Store::new(&encoded(&quotas), 1);
        let take = |now| store.take(&Key::UNKNOWN, now, WhenFull::Forget).decision;
        let mut now = 0;
        for _ in 0..3 {
            let refused = loop {
                let decision = take(now);
                if !decision.admitted {
                    break decision;
                }
            };
            let wait = refused.wait.as_nanos() as u64;
            prop_assert!(!take(now + wait - 1).admitted);
            prop_assert!(take(now + wait).admitted);
            now += wait;
        }
    }

    /// The number of keys never exceeds the cap, for any arrivals; a live key is evicted only if none is dead; and with
    /// `Refuse` none ever is.
    #[test]
    fn the_cap_holds_and_the_dead_go_first(
        room in 1_usize..40,
        refuse in any::<bool>(),
        arrivals in prop::collection::vec((0_u64..80, 0_u64..60), 1..400),
    ) {
        let when_full = if refuse { WhenFull::Refuse } else { WhenFull::Forget };
        let quotas = [Quota::per_second(1).burst(2), Quota::per_minute(60).burst(1)];
        let store = Store::new(&encoded(&quotas), room);
        let second = 1_000_000_000;
        // The time at which each key is dead, unless it was evicted.
        let mut dead_at: HashMap<u64, u64> = HashMap::new();
        let mut now = 0;
        for (key, step) in arrivals {
            now += step * second / 40;
            let live = dead_at.iter().filter(|(k, at)| **at > now && **k != key).count();
            let outcome = store.take(&Key::from(key), now, when_full);
            prop_assert!(store.keys() <= room);
            if outcome.full {
                // Earlier evictions make the model count too many keys, never too few.
                prop_assert!(live >= room, "{live} of {room} live");
                prop_assert_eq!(outcome.decision.admitted, !refuse);
            }
            if outcome.decision.admitted {
                dead_at.insert(key, now + second);
            } else if refuse && !outcome.full {
                prop_assert!(dead_at[&key] > now, "only a known, live key is refused");
            }
        }
        let forgotten = store.forgotten.load(std::sync::atomic::Ordering::Relaxed);
        prop_assert!(!refuse || forgotten == 0);
    }
}

/// A client that has exhausted its quota stays charged while a flood of new keys passes by.
#[test]
fn a_flood_does_not_restore_an_exhausted_quota() {
    let quotas = [Quota::per_hour(100)];
    let store = Store::new(&encoded(&quotas), 1000);
    let heavy = Key::from("heavy");
    while store.take(&heavy, 0, WhenFull::Forget).decision.admitted {}
    for key in 0..50_000_u64 {
        store.take(&Key::from(key), key, WhenFull::Forget);
    }
    let decision = store.take(&heavy, 50_000, WhenFull::Forget).decision;
    assert!(!decision.admitted);
}

/// Half as many new keys as there is room for: each of them finds older keys to be forgotten in its place.
#[test]
fn a_new_key_is_not_forgotten_before_older_ones() {
    let store = Store::new(&encoded(&[Quota::per_hour(1)]), 1000);
    let take = |key: u64| {
        let outcome = store.take(&Key::from(key), key, WhenFull::Forget);
        outcome.decision.admitted
    };
    assert!((0..1500).all(take), "each comes for the first time");
    let forgotten: Vec<_> = (1000..1500).filter(|key| take(*key)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// The limiter works to the end of the clock's range.
#[test]
fn no_time_is_too_late() {
    let quotas = [
        Quota::per_day(1).burst(3600),
        Quota::per(1, std::time::Duration::from_nanos(1)),
    ];
    let store = Store::new(&encoded(&quotas), 1);
    let clock = super::clock::Clock::Given(std::sync::Arc::new(|| std::time::Duration::MAX));
    let take = || store.take(&Key::UNKNOWN, clock.now(), WhenFull::Forget);
    assert!(take().decision.admitted);
    for _ in 0..3 {
        let decision = take().decision;
        assert!(!decision.admitted);
        assert_eq!((decision.quota, decision.wait.as_nanos()), (1, 1));
    }
    assert_eq!(store.keys(), 1);
}
