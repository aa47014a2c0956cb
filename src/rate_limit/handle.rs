use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::store::Store;

/// Numbers of a rate limiter, for metrics; from [`RateLimitLayer::handle`](super::RateLimitLayer::handle).
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    pub(super) store: Option<Arc<Store>>,
}

impl RateLimitHandle {
    /// How many keys are kept now, never more than [`max_keys`](super::RateLimitLayer::max_keys); those among
    /// them whose quota is full again are forgotten when new ones come. Takes each shard's lock in turn: meant for a
    /// scrape, not for each request.
    pub fn keys(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.keys())
    }

    /// How many keys gave way to new ones although they still counted. More than a few: `max_keys` is too
    /// small, or somebody makes keys up.
    pub fn forgotten(&self) -> u64 {
        self.of(|store| store.forgotten.load(Ordering::Relaxed))
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.of(|store| store.refused.load(Ordering::Relaxed))
    }

    fn of(&self, number: impl FnOnce(&Store) -> u64) -> u64 {
        self.store.as_deref().map_or(0, number)
    }
}
