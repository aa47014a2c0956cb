//! Medians and percentiles of small samples.

use std::time::Duration;

/// Returns the value below which `percent` of the sorted sample lie (nearest rank).
pub fn percentile<T: Copy + PartialOrd>(sample: &[T], percent: f64) -> Option<T> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
}

pub fn median<T: Copy + PartialOrd>(sample: &[T]) -> Option<T> {
    percentile(sample, 50.0)
}

/// Formats a duration in milliseconds with two decimals; `-` for none.
pub fn millis(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!("{:.2} ms", duration.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    }
}

/// Formats a sample of durations as `median A, p99 B, max C`.
pub fn spread(sample: &[Duration]) -> String {
    format!(
        "p50 {}, p99 {}, max {}",
        millis(median(sample)),
        millis(percentile(sample, 99.0)),
        millis(percentile(sample, 100.0)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let sample = [5, 1, 4, 2, 3];
        assert_eq!(median(&sample), Some(3));
        assert_eq!(percentile(&sample, 99.0), Some(5));
        assert_eq!(percentile(&sample, 0.0), Some(1));
        assert_eq!(median::<u32>(&[]), None);
    }
}
