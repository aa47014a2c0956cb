use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A duration is counted in units of 100 ns: coarse enough that a sum lasts for decades of many requests at
/// once, fine enough for a handler that takes microseconds.
const TICKS_PER_SECOND: f64 = 1e7;

/// The buckets of all histograms of one kind.
pub(super) struct Bounds {
    /// As they are told: seconds, or bytes.
    told: Box<[f64]>,
    /// As they are compared: ticks, or bytes.
    limits: Box<[u64]>,
    per_unit: f64,
}

impl Bounds {
    /// Upper bounds in seconds.
    pub fn seconds(told: &[f64]) -> Self {
        Self::new(told, TICKS_PER_SECOND)
    }

    /// Upper bounds in bytes.
    pub fn bytes(told: &[f64]) -> Self {
        Self::new(told, 1.0)
    }

    /// Sorted, without what is no bound: what is not above 0, not finite, or there twice.
    fn new(told: &[f64], per_unit: f64) -> Self {
        let is_bound = |bound: &f64| bound.is_finite() && *bound > 0.0;
        let mut told: Vec<f64> = told.iter().copied().filter(is_bound).collect();
        told.sort_by(f64::total_cmp);
        told.dedup();
        Bounds {
            // A float that is too large for the integer becomes the largest.
            limits: told.iter().map(|bound| (bound * per_unit) as u64).collect(),
            told: told.into(),
            per_unit,
        }
    }

    pub fn histogram(&self) -> Histogram {
        Histogram {
            counts: (0..=self.limits.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

/// A histogram without a lock. It does not know its bounds, which all of a kind share.
pub(super) struct Histogram {
    /// Of each bucket alone, the last is what is above all bounds.
    counts: Box<[AtomicU64]>,
    /// Wraps as a counter that began again.
    sum: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, bounds: &Bounds, value: u64) {
        let bucket = bounds.limits.partition_point(|limit| *limit < value);
        // Relaxed: nothing is published by a count.
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn observe_duration(&self, bounds: &Bounds, duration: Duration) {
        let ticks = duration.as_nanos() / 100;
        self.observe(bounds, u64::try_from(ticks).unwrap_or(u64::MAX));
    }

    /// What a scrape says of it: the sum, the count, and the count of each bucket alone, into `buckets`.
    /// The count is that of the buckets that were read, so that they always agree; what is observed
    /// meanwhile is perhaps in one of count and sum only.
    pub fn read(&self, bounds: &Bounds, buckets: &mut Vec<(f64, u64)>) -> (f64, u64) {
        buckets.clear();
        let told = bounds.told.iter().copied().chain([f64::INFINITY]);
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        buckets.extend(told.zip(counts));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / bounds.per_unit;
        (sum, count)
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.told).finish()
    }
}
