//! The start line and the report, to the log where there is one.

use std::io::Write;

use super::Server;
use crate::shutdown::Report;
use crate::stack::{BODY_LIMIT, TIMEOUT};

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
        format!("timeout={timeout} body={body} rate_limit={rate_limit} proxies={proxies}{changed}")
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
    to_stderr(line);
}

/// Writes how the process ended.
pub(super) fn ended(report: &Report) {
    #[cfg(feature = "tracing")]
    if tracing::dispatcher::has_been_set() {
        let (clean, cut) = (report.is_clean(), report.cut.len());
        let total_ms = u64::try_from(report.total.as_millis()).unwrap_or(u64::MAX);
        match clean {
            true => {
                tracing::info!(target: "lameduck", event = "report", clean, cut, total_ms, "{report}");
            }
            false => {
                tracing::warn!(target: "lameduck", event = "report", clean, cut, total_ms, "{report}");
            }
        }
        return;
    }
    to_stderr(&report.to_string());
}

fn to_stderr(text: &str) {
    // `eprintln!` panics where the reader is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}
