//! The start line and the report, to the log where there is one.

use std::time::Duration;

use super::Server;
use crate::shutdown::Report;
use crate::stack::{BODY_LIMIT, TIMEOUT};
use crate::stderr;
#[cfg(feature = "tracing")]
use crate::text;

/// The most that a log's line holds of the report, in bytes.
#[cfg(feature = "tracing")]
const REPORT: usize = 16 * 1024;

impl Server {
    /// Returns the settings in force, for the start line.
    pub(super) fn in_force(&self) -> String {
        let timeout = match self.timeout.unwrap_or(Some(TIMEOUT)) {
            Some(time) => format!("{time:?}"),
            None => "off".to_owned(),
        };
        let body = match self.body_limit.unwrap_or(Some(BODY_LIMIT)) {
            Some(bytes) => size(bytes),
            None => "off".to_owned(),
        };
        let proxies = match self.proxies.to_string() {
            none if none.is_empty() => "none".to_owned(),
            proxies => proxies.replace(", ", ","),
        };
        #[cfg(feature = "rate-limit")]
        let rate_limit = self.quotas.as_deref().unwrap_or("off");
        #[cfg(not(feature = "rate-limit"))]
        let rate_limit = "off";
        let changed = if self.layers.is_empty() {
            ""
        } else {
            " layers=changed"
        };
        let budgets = self.budgets_in_force();
        format!(
            "timeout={timeout} body={body} rate_limit={rate_limit} proxies={proxies} {budgets}{changed}"
        )
    }

    /// Returns how long the process may take to leave, for the start line.
    fn budgets_in_force(&self) -> String {
        let (budgets, grace) = self.shutdown.budgets_in_force();
        let time = |time: Duration| match time.is_zero() {
            true => "0s".to_owned(),
            false => format!("{time:?}"),
        };
        let (lame_duck, drain) = (time(budgets.lame_duck), time(budgets.drain));
        format!("lame_duck={lame_duck} drain={drain} grace={}", time(grace))
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
        _ if bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// Writes the start line.
pub(super) fn started(line: &str) {
    #[cfg(feature = "tracing")]
    if tracing::dispatcher::has_been_set() {
        tracing::info!(target: "lameduck", event = "started", "{line}");
        return;
    }
    stderr::line(line);
}

/// Writes how the process ended.
pub(super) fn ended(report: &Report) {
    #[cfg(feature = "tracing")]
    if tracing::dispatcher::has_been_set() {
        let (clean, cut) = (report.is_clean(), report.cut.len());
        let total_ms = u64::try_from(report.total.as_millis()).unwrap_or(u64::MAX);
        let line = one_line(report);
        match clean {
            true => {
                tracing::info!(target: "lameduck", event = "report", clean, cut, total_ms, "{line}");
            }
            false => {
                tracing::warn!(target: "lameduck", event = "report", clean, cut, total_ms, "{line}");
            }
        }
        return;
    }
    stderr::line(&report.to_string());
}

/// Returns the report in one line: a log is read by lines.
#[cfg(feature = "tracing")]
fn one_line(report: &Report) -> String {
    let report = report.to_string();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = report.lines().map(words).collect();
    text::line(lines.join("; "), REPORT)
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::Shutdown;

    #[tokio::test]
    async fn report_of_many_lines_is_one_line_of_the_log() {
        let shutdown = Shutdown::for_tests().closer("pool\n2", Duration::from_secs(1), || async {});
        shutdown.handle().drain_now();
        let report = shutdown.run().await.unwrap();
        let whole = report.to_string();
        let line = one_line(&report);
        assert!(
            whole.lines().count() > 3 && line.lines().count() == 1,
            "{line}"
        );
        assert!(
            line.starts_with("shutdown (called from code): clean; "),
            "{line}"
        );
        let words = |text: &str| text.replace(';', "").split_whitespace().count();
        assert_eq!(words(&line), words(&whole), "{line}");
    }
}
