use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The unit of durations, 100 ns: coarse enough that a sum lasts for decades of many concurrent requests, fine enough
/// for a handler that takes microseconds.
const TICKS_PER_SECOND: f64 = 1e7;

/// The buckets shared by all histograms of one kind.
pub(super) struct Bounds {
    /// The bounds as exported, in seconds or bytes.
    exported: Box<[f64]>,
    /// The bounds as compared, in ticks or bytes.
    limits: Box<[u64]>,
    per_unit: f64,
}

impl Bounds {
    /// Creates bounds in seconds.
    pub(crate) fn seconds(exported: &[f64]) -> Self {
        Self::new(exported, TICKS_PER_SECOND)
    }

    /// Creates bounds in bytes.
    pub(crate) fn bytes(exported: &[f64]) -> Self {
        Self::new(exported, 1.0)
    }

    /// Sorts the bounds and drops invalid ones: not above 0, not finite, or duplicate.
    fn new(exported: &[f64], per_unit: f64) -> Self {
        let is_bound = |bound: &f64| bound.is_finite() && *bound > 0.0;
        let mut exported: Vec<f64> = exported.iter().copied().filter(is_bound).collect();
        exported.sort_by(f64::total_cmp);
        exported.dedup();
        Bounds {
            // A float too large for the integer saturates.
            limits: exported
                .iter()
                .map(|bound| (bound * per_unit) as u64)
                .collect(),
            exported: exported.into(),
            per_unit,
        }
    }

    pub(crate) fn histogram(&self) -> Histogram {
        Histogram {
            counts: (0..=self.limits.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

/// A lock-free histogram. It does not hold its bounds, which all histograms of a kind share.
pub(super) struct Histogram {
    /// The count of each bucket, not cumulative; the last is above all bounds.
    counts: Box<[AtomicU64]>,
    /// The sum, which wraps as a counter does on a reset.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, bounds: &Bounds, value: u64) {
        let bucket = bounds.limits.partition_point(|limit| *limit < value);
        // Relaxed: a count publishes no other data.
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn observe_duration(&self, bounds: &Bounds, duration: Duration) {
        let ticks = duration.as_nanos() / 100;
        self.observe(bounds, u64::try_from(ticks).unwrap_or(u64::MAX));
    }

    /// Reads the sum, the count, and the count of each bucket (not cumulative, into `buckets`). The count is derived
    /// from the buckets read, so that they always agree; an observation made meanwhile may be in only one of count and
    /// sum.
    pub(crate) fn read(&self, bounds: &Bounds, buckets: &mut Vec<(f64, u64)>) -> (f64, u64) {
        buckets.clear();
        let exported = bounds.exported.iter().copied().chain([f64::INFINITY]);
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        buckets.extend(exported.zip(counts));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / bounds.per_unit;
        (sum, count)
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.exported).finish()
    }
}
