//! Logs, and what is told at the end.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    time::Duration,
};

use lameduck::{
    Report,
    events::{Event, Events},
    shutdown::StepEnd,
};
use tracing::{debug, info, trace, warn};
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Config, LogFormat, OrOff};

pub fn init(config: &Config) {
    let lines = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(colour())
            .with_target(false)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(config.log_level.clone()))
        .init();
}

/// Colour is for a person who has not refused it (<https://no-color.org>).
fn colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

/// Says where the service listens, and with which settings: what was meant and what was read are
/// not always the same.
pub fn log_start(address: SocketAddr, config: &Config) {
    info!(
        %address,
        read_header_timeout = %OrOff::timeout(config.read_header_timeout),
        read_timeout = %OrOff::timeout(config.read_timeout),
        write_timeout = %OrOff::timeout(config.write_timeout),
        idle_timeout = %OrOff::timeout(config.idle_timeout),
        request_timeout = %OrOff::timeout(config.request_timeout),
        body_limit = %OrOff(config.body_limit),
        trusted_proxies = %config.trusted_proxies,
        client_ip_header = %config.client_ip_header,
        rate_limit = %OrOff(config.rate_limit),
        // Its Debug has no password.
        redis = ?config.redis,
        lame_duck = ?config.lame_duck,
        drain_timeout = ?config.drain_timeout,
        termination_grace = ?config.termination_grace,
        startup_delay = %OrOff::timeout(config.startup_delay),
        log_level = %config.log_level,
        "listening"
    );
}

/// Logs what the library tells, in the moment in which it happens.
pub fn events() -> Events {
    Events::to(|event| match event {
        Event::Phase(phase) => info!(%phase, "the phase has changed"),
        Event::AcceptError { error, pause } => {
            warn!(%error, ?pause, "a connection could not be accepted");
        }
        Event::ServiceError { error } => warn!(%error, "the service failed"),
        Event::RateLimitFallback { error } => {
            warn!(%error, "Redis is away: the rate limit is each instance's own");
        }
        Event::RateLimitRestored => info!("Redis is back: the rate limit is shared again"),
        // Told with the report, which knows more of it.
        Event::Cut { .. } => {}
        // One line for each connection is for those who ask for it.
        Event::Opened { .. } | Event::Closed { .. } => trace!("{event}"),
        // Nor one for each request that came as expected.
        Event::ClientAddress { verdict } if !verdict.is_flagged() => trace!("{event}"),
        _ => debug!("{event}"),
    })
}

/// The report, for the log's reader and for the person at the terminal.
pub fn tell(report: &Report) {
    for cut in &report.cut {
        warn!(
            method = cut.method,
            path = cut.path,
            age_ms = millis(cut.age),
            peer = cut.peer.map(tracing::field::display),
            state = cut.state,
            "a request was cut"
        );
    }
    for step in report.steps.iter().filter(|step| step.end != StepEnd::Done) {
        warn!(
            kind = %step.kind,
            name = step.name,
            took_ms = millis(step.took),
            end = %step.end,
            "a step of the shutdown did not end as it should"
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
    // `println!` would panic if the reader of the pipe has gone before us.
    let _ = writeln!(std::io::stdout(), "\n{report}");
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The last thing a shutdown does. An exporter that sends its spans in batches belongs here too.
pub async fn flush() {
    let _ = std::io::stdout().flush();
}
