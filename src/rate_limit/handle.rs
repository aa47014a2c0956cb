use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::store::Store;

/// A handle that reads a rate limiter's numbers, for metrics; from
/// [`RateLimitLayer::handle`](super::RateLimitLayer::handle).
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    pub(super) store: Option<Arc<Store>>,
}

impl RateLimitHandle {
    /// Returns the number of tracked keys, never more than [`max_keys`](super::RateLimitLayer::max_keys). Keys whose
    /// quota is full again are dropped as new ones arrive. Takes each shard's lock in turn: call it once per scrape,
    /// not per request.
    pub fn keys(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.keys())
    }

    /// Returns the number of keys that were evicted although they still counted. If it is more than a few, `max_keys`
    /// is too small, or a client invents keys.
    pub fn forgotten(&self) -> u64 {
        self.of(|store| store.forgotten.load(Ordering::Relaxed))
    }

    /// Returns the number of refused requests.
    pub fn refused(&self) -> u64 {
        self.of(|store| store.refused.load(Ordering::Relaxed))
    }

    fn of(&self, number: impl FnOnce(&Store) -> u64) -> u64 {
        self.store.as_deref().map_or(0, number)
    }
}
