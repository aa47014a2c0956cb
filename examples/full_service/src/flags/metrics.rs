//! What a scrape shows of the flags.

use std::{fmt, sync::atomic::Ordering};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::Flags;

impl Collector for Flags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (known, invalid) = {
            let table = self.0.table.load();
            (table.flags.len(), table.invalid.len())
        };
        for (name, help, value) in [
            ("flags", "Flags in force", known),
            (
                "flags_invalid",
                "Flags that cannot be read, and have their last value",
                invalid,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        // Those of a file alone have no age.
        if self.settings().redis.is_none() {
            return Ok(());
        }
        encoder
            .encode_descriptor(
                "flags_age",
                "Time since the flags were those of Redis",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&self.0.state.load().age().as_secs_f64())?;
        encoder
            .encode_descriptor(
                "flags_refresh_failures",
                "Looks at Redis that failed",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, f64>(&self.0.failures.load(Ordering::Relaxed), None)
    }
}
