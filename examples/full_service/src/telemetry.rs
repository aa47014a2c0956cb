//! Logs, and the report at the end.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use lameduck::{Report, real_ip::TrustedProxies, server::Running, shutdown::StepEnd};
use tracing::{info, warn};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{Config, LogFormat, OrOff},
    log_writer::LogWriter,
    secret::redact,
    traces::Traces,
};

/// The time that the last lines may take to be written: their reader may not read.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Starts logging to standard output, without ever waiting for its reader; and the traces, if there is a collector.
///
/// # Errors
///
/// Fails if no thread can be started, or the settings of the traces are malformed.
pub fn init(config: &Config) -> io::Result<(LogWriter, Option<Traces>)> {
    let traces = config.traces.as_ref().map(Traces::new).transpose()?;
    let writer = LogWriter::start(io::stdout())?;
    let lines = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_writer(writer.clone())
            .with_ansi(colour())
            .with_target(false)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .with_writer(writer.clone())
            .json()
            .flatten_event(true)
            .boxed(),
    };
    let levels = without_secrets(without_floods(config.log_level.clone()));
    let lines = lines.with_filter(levels);
    let subscriber = tracing_subscriber::registry().with(lines);
    match &traces {
        Some(traces) => subscriber.with(traces.layer()).init(),
        // A layer that is not there would still be asked about every event.
        None => subscriber.init(),
    }
    Ok((writer, traces))
}

/// Silences h2's warnings, which clients can cause as fast as they send frames. `LOG_LEVEL=info,h2=warn` shows them.
fn without_floods(levels: Targets) -> Targets {
    const H2: &str = "h2";
    let named = levels.iter().any(|(target, _)| target.starts_with(H2));
    let silent = levels
        .default_level()
        .is_none_or(|level| level < LevelFilter::ERROR);
    match named || silent {
        true => levels,
        false => levels.with_target(H2, LevelFilter::ERROR),
    }
}

/// Silences sqlx's warnings about the URL of the database, which repeat its parameters, and about `.pgpass`.
fn without_secrets(levels: Targets) -> Targets {
    const OPTIONS: &str = "sqlx_postgres::options";
    // A longer target would win.
    let others = levels
        .iter()
        .filter(|(target, _)| !target.starts_with(OPTIONS));
    let others: Targets = others
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    others
        .with_default(levels.default_level().unwrap_or(LevelFilter::OFF))
        .with_target(OPTIONS, LevelFilter::OFF)
}

/// Returns true for a terminal without `NO_COLOR` (<https://no-color.org>).
fn colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

/// Logs the address and the settings in effect, which may differ from the intended ones.
pub fn log_start(running: &Running, config: &Config, instance: &str) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        address = running.addr().map(display),
        admin = running.admin_addr().map(display),
        // As in `pg_stat_activity`, in the table `instances`, and in the owners of jobs.
        instance,
        read_header_timeout = %OrOff::timeout(config.read_header_timeout),
        response_head_timeout = %OrOff::timeout(config.response_head_timeout),
        read_timeout = %OrOff::timeout(config.read_timeout),
        write_timeout = %OrOff::timeout(config.write_timeout),
        idle_timeout = %OrOff::timeout(config.idle_timeout),
        request_timeout = %OrOff::timeout(config.request_timeout),
        body_limit = %OrOff(config.body_limit),
        trusted_proxies = %none_or(&config.trusted_proxies),
        client_ip_header = %config.client_ip_header,
        rate_limit = %OrOff(config.rate_limit),
        // The `Debug` output has no password.
        redis = %OrOff(config.redis.as_ref().map(|redis| format!("{redis:?}"))),
        flags_refresh = ?config.flags.refresh,
        flags_cache = %OrOff(config.flags.cache.as_ref().map(|path| path.display())),
        // The path of a file, or the server: no user, no password.
        database = %redact(config.database.expose()),
        migrate = ?config.migrate,
        jobs = config.jobs,
        job_lease = ?config.job_lease,
        lame_duck = ?config.lame_duck,
        drain_timeout = ?config.drain_timeout,
        last_scrape = %OrOff::timeout(config.last_scrape),
        termination_grace = ?config.termination_grace,
        startup_delay = %OrOff::timeout(config.startup_delay),
        traces = %OrOff(config.traces.as_ref()),
        log_level = %config.log_level,
        "listening"
    );
}

fn none_or(trusted: &TrustedProxies) -> String {
    match trusted.is_empty() {
        true => "none".to_owned(),
        false => trusted.to_string(),
    }
}

/// Reports the shutdown to the log and to the person at the terminal. Cut requests have been logged before, the oldest
/// one by one.
pub fn log_report(report: &Report, writer: &mut LogWriter) {
    for step in report.steps.iter().filter(|step| step.end != StepEnd::Done) {
        warn!(
            kind = %step.kind,
            name = step.name,
            took_ms = millis(step.took),
            end = %step.end,
            "a step of the shutdown failed"
        );
    }
    info!(
        clean = report.is_clean(),
        cause = %report.cause,
        at_once = report.at_once,
        lame_duck_ms = millis(report.lame_duck),
        drain_ms = millis(report.drain),
        workers_ms = millis(report.workers),
        closers_ms = millis(report.closers),
        total_ms = millis(report.total),
        requests = report.requests,
        connections = report.connections,
        cut = report.cut.len(),
        "shutdown report"
    );
    // `println!` would wait for a reader that does not read, and panic if it has gone.
    let _ = writer.write_all(format!("\n{report}\n").as_bytes());
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the last lines of a shutdown.
pub async fn flush(writer: LogWriter) {
    let _ = tokio::task::spawn_blocking(move || last_lines(&writer)).await;
}

/// Waits until the last lines are written, at most `LAST_LINES`.
pub fn last_lines(writer: &LogWriter) {
    writer.wait_written(LAST_LINES);
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_client_fills_the_log_with_warnings_of_h2() {
        let warns = |levels: &str| {
            let levels = without_floods(levels.parse().expect(levels));
            levels.would_enable("h2::proto::ping_pong", &Level::WARN)
        };
        assert!(!warns("info") && !warns("debug") && !warns("info,full_service=debug"));
        assert!(!warns("off") && !warns("full_service=info"));
        assert!(warns("info,h2=warn") && warns("off,h2::proto=warn"));
    }

    #[test]
    fn no_level_shows_what_sqlx_says_of_a_url() {
        for levels in [
            "info",
            "trace",
            "info,sqlx_postgres=trace",
            "warn,sqlx_postgres::options::parse=trace,a=trace",
            "sqlx_postgres::options::pgpass=trace",
        ] {
            let before: Targets = levels.parse().expect(levels);
            let levels = without_secrets(before.clone());
            for target in ["parse", "pgpass"] {
                let target = format!("sqlx_postgres::options::{target}");
                assert!(!levels.would_enable(&target, &Level::ERROR), "{levels}");
            }
            for (target, level) in [("a", Level::DEBUG), ("b", Level::WARN), ("b", Level::INFO)] {
                let same = before.would_enable(target, &level);
                assert_eq!(levels.would_enable(target, &level), same, "{levels}");
            }
        }
    }
}
