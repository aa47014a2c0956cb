//! What a scrape shows of the jobs: the whole queue, the same on every instance.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Unit,
};

use crate::store::{JobCounts, Store, StoreError};

/// The last counts; none while the database is away, because old ones would look like good ones.
#[derive(Clone, Debug, Default)]
pub struct JobMetrics(Arc<ArcSwapOption<JobCounts>>);

impl JobMetrics {
    /// Counts the jobs.
    ///
    /// # Errors
    ///
    /// The database is away, or is too busy to count; a scrape shows no counts then.
    pub(super) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let counts = store.job_counts().await;
        let (counts, refreshed) = match counts {
            Ok(counts) => (Some(Arc::new(counts)), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.0.store(counts);
        refreshed
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> Option<Arc<JobCounts>> {
        self.0.load_full()
    }
}

impl Collector for JobMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.load();
        let Some(counts) = counts.as_deref() else {
            return Ok(());
        };
        let mut jobs =
            encoder.encode_descriptor("jobs", "Jobs that are not done", None, MetricType::Gauge)?;
        for (state, count) in [
            ("queued", counts.queued),
            ("running", counts.running),
            ("dead", counts.dead),
        ] {
            jobs.encode_family(&[("state", state)])?
                .encode_gauge(&count)?;
        }
        let seconds = Some(&Unit::Seconds);
        encoder
            .encode_descriptor(
                "jobs_wait",
                "Time for which the job that waits longest has been due",
                seconds,
                MetricType::Gauge,
            )?
            .encode_gauge(&counts.longest_wait.as_secs_f64())
    }
}
