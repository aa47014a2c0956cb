use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::decision::Outcome;
use super::shard::Shard;
use super::{Key, WhenFull};
use crate::sync::Lock;

/// The keys and how much they have used, never more than a maximum number of them; in shards, each with a lock
/// of its own.
pub(super) struct Store {
    /// Seeded at random: keys come from outside, and who knew the hash could fill one shard.
    hasher: RandomState,
    /// As many as a power of two.
    shards: Box<[Lock<Shard>]>,
    max_keys: usize,
    pub(super) forgotten: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// From so many keys on a shard is divided. Large enough that hashing fills them evenly, small enough that all
/// keys of one can be looked at in microseconds.
const SHARD: usize = 1024;
/// More locks would help nobody.
const MOST_SHARDS: usize = 4096;

impl Store {
    pub(super) fn new(quotas: &[governor::Quota], max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let hasher = RandomState::new();
        let count = 1 << (max_keys / SHARD).clamp(1, MOST_SHARDS).ilog2();
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
        // Not the lowest bits and not the highest: with those the table finds its slot.
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
