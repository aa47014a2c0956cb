use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::decision::Outcome;
use super::shard::Shard;
use super::{Key, WhenFull};
use crate::sync::Lock;

/// A bounded map of keys to their use, in shards with a lock each.
pub(super) struct Store {
    /// Seeded at random: keys come from outside, and a client that knew the hash could fill one shard.
    hasher: RandomState,
    /// The shards; their number is a power of two.
    shards: Box<[Lock<Shard>]>,
    max_keys: usize,
    pub(super) forgotten: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The minimum number of keys per shard. It is large enough that hashing fills shards evenly, and small enough that a
/// scan of one shard takes microseconds.
const MIN_SHARD: usize = 1024;
/// The maximum number of shards; more locks would bring no benefit.
const MAX_SHARDS: usize = 4096;

impl Store {
    pub(super) fn new(quotas: &[governor::Quota], max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let hasher = RandomState::new();
        let count = 1 << (max_keys / MIN_SHARD).clamp(1, MAX_SHARDS).ilog2();
        let shards = (0..count).map(|at| {
            let room = max_keys / count + usize::from(at < max_keys % count);
            Lock::new(Shard::new(quotas, room, hasher.clone()))
        });
        Store {
            shards: shards.collect(),
            hasher,
            max_keys,
            forgotten: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes one request of `key` at the time `now`.
    pub(super) fn take(&self, key: &Key, now: u64, when_full: WhenFull) -> Outcome {
        let hash = self.hasher.hash_one(key);
        // Neither the lowest bits nor the highest: the table uses those to find its slot.
        let at = (hash >> 32) as usize & (self.shards.len() - 1);
        let outcome = self.shards[at].lock().take(hash, key, now, when_full);
        if outcome.full && outcome.decision.admitted {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    pub(super) fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    pub(super) fn max_keys(&self) -> usize {
        self.max_keys
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
