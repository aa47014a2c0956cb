//! The valid values of each variable.

mod database;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::Uri;
use lameduck::{
    rate_limit::{Quota, redis::RedisLimiter},
    real_ip::{ClientIpHeader, TrustedProxies},
    shutdown::InvalidShutdown,
};
use tracing_subscriber::filter::{LevelFilter, Targets};

pub use self::database::database;
use super::{LogFormat, Migrate, duration, problems::Refusal};
use crate::{api::cors::Origins, flags, secret::redact, traces::Sampler};

/// The longest duration that is not taken for a typing error.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const TIMEOUT: &str = "a duration up to 24h like 5s, 500ms or 1m30s, or `off`";
const BUDGET: &str = "a duration up to 24h like 5s, 500ms or 1m30s";
const LAME_DUCK: &str =
    "a duration up to 24h like 5s, 500ms or 1m30s; `off` or 0s without a load balancer";

fn refuse<T>(wrong: impl Into<String>, right: &'static str) -> Result<T, Refusal> {
    let wrong = wrong.into();
    Err(Refusal { wrong, right })
}

pub fn host(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().or_else(|_| {
        refuse(
            "is not an IP address",
            "an address of this machine like 0.0.0.0, 127.0.0.1 or ::",
        )
    })
}

pub fn port(text: &str) -> Result<u16, Refusal> {
    text.parse().or_else(|_| {
        refuse(
            "is not a port number",
            "a number from 1 to 65535, or 0 for any free port",
        )
    })
}

/// Parses a port that may be switched off.
pub fn admin_port(text: &str) -> Result<Option<u16>, Refusal> {
    const RIGHT: &str = "a number from 1 to 65535, 0 for any free port, or `off`";
    match text {
        "off" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .or_else(|_| refuse("is not a port number", RIGHT)),
    }
}

/// Parses a duration that may be switched off.
pub fn timeout(text: &str) -> Result<Option<Duration>, Refusal> {
    match text {
        "off" => Ok(None),
        _ => bounded(text, TIMEOUT).map(Some),
    }
}

/// Parses a part of the shutdown's budget, which must have an end.
pub fn budget(text: &str) -> Result<Duration, Refusal> {
    match text {
        "off" => refuse("cannot be off: a shutdown must have an end", BUDGET),
        _ => bounded(text, BUDGET),
    }
}

/// Parses a duration without which something would wait for ever.
pub fn wait(text: &str) -> Result<Duration, Refusal> {
    match text {
        "off" => refuse("cannot be off", BUDGET),
        _ => bounded(text, BUDGET),
    }
}

/// Parses the silence that a websocket may keep.
pub fn websocket_idle(text: &str) -> Result<Duration, Refusal> {
    match text {
        "off" => refuse(
            "cannot be off: a vanished client would hold the drain",
            BUDGET,
        ),
        _ => bounded(text, BUDGET),
    }
}

/// Parses the lame duck, which may be off where there is no load balancer to inform.
pub fn lame_duck(text: &str) -> Result<Duration, Refusal> {
    match text {
        "off" => Ok(Duration::ZERO),
        _ => match duration::parse(text) {
            Ok(Duration::ZERO) => Ok(Duration::ZERO),
            _ => bounded(text, LAME_DUCK),
        },
    }
}

/// Refuses a grace that is too short; the library's error states by how much, and what would fit.
pub fn too_short(error: &InvalidShutdown) -> Refusal {
    Refusal {
        wrong: format!("is too short: {error}"),
        right: "a longer one here, or a shorter LAME_DUCK (lame_duck), DRAIN_TIMEOUT (drain) or LAST_SCRAPE (closers)",
    }
}

/// Refuses to wait for a scrape that cannot come.
pub fn no_port_to_scrape() -> Refusal {
    Refusal {
        wrong: "needs a port to scrape, but ADMIN_PORT=off".to_owned(),
        right: "`off`, or an ADMIN_PORT",
    }
}

fn bounded(text: &str, right: &'static str) -> Result<Duration, Refusal> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => refuse("is zero", right),
        Ok(long) if long > LONGEST => refuse("is longer than a day", right),
        Ok(duration) => Ok(duration),
        Err(wrong) => refuse(wrong, right),
    }
}

/// Parses a level, or levels by target: `info,full_service=debug`.
pub fn log_level(text: &str) -> Result<Targets, Refusal> {
    const RIGHT: &str = concat!(
        "off, error, warn, info, debug or trace, also by target: info,",
        env!("CARGO_CRATE_NAME"),
        "=debug"
    );

    // `Targets` alone takes any bare word for the name of a target, and the service would start without logs.
    for directive in text.split(',').filter(|directive| !directive.contains('=')) {
        if directive.parse::<LevelFilter>().is_err() {
            return refuse(format!("has an unknown level, {directive:?}"), RIGHT);
        }
    }
    text.parse()
        .or_else(|_| refuse("is not a list of log levels", RIGHT))
}

pub fn log_format(text: &str) -> Result<LogFormat, Refusal> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => refuse("is not a log format", "text or json"),
    }
}

/// Parses a size that may be switched off.
pub fn body_limit(text: &str) -> Result<Option<u64>, Refusal> {
    const RIGHT: &str = "a size like 1MiB, 512KiB, 2MB or 1048576 (bytes), or `off`";
    if text == "off" {
        return Ok(None);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return refuse("is not a size", RIGHT),
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
    {
        Some(bytes) => Ok(Some(bytes)),
        None => refuse("is not a size", RIGHT),
    }
}

pub fn trusted_proxies(text: &str) -> Result<TrustedProxies, Refusal> {
    if text == "none" {
        return Ok(TrustedProxies::none());
    }
    text.parse::<TrustedProxies>().or_else(|error| {
        refuse(
            error.to_string(),
            "addresses, networks and presets, like `10.0.0.0/8, loopback`; presets are loopback, link_local and private",
        )
    })
}

pub fn client_ip_header(text: &str) -> Result<ClientIpHeader, Refusal> {
    let parsed = match text {
        // Other variables take these words; a header of this name would be looked for in vain.
        "none" | "off" => {
            Err("switches nothing off: without TRUSTED_PROXIES no header counts".to_owned())
        }
        _ => text
            .parse::<ClientIpHeader>()
            .map_err(|error| error.to_string()),
    };
    parsed.or_else(|wrong| {
        refuse(
            wrong,
            "x-forwarded-for, forwarded, or the name of a header with one address like x-real-ip",
        )
    })
}

pub fn rate_limit(text: &str) -> Result<Option<Quota>, Refusal> {
    match text {
        "off" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .or_else(|error: lameduck::rate_limit::InvalidQuota| {
                refuse(
                    error.to_string(),
                    "a quota like `100/s burst 200` or `5000/h` (s, m, h, d), or `off`",
                )
            }),
    }
}

/// Parses the URL of a Redis, for the rate limit and for the flags.
pub fn redis(text: &str) -> Result<(RedisLimiter, flags::Redis), Refusal> {
    const RIGHT: &str = "a URL like redis://redis:6379";
    let limiter =
        RedisLimiter::new(text).or_else(|error| refuse(redact(&error.to_string()), RIGHT))?;
    let flags = flags::Redis::new(text).or_else(|error| refuse(error.to_string(), RIGHT))?;
    Ok((limiter, flags))
}

/// Parses the path of the flags' cache, which may be `none`.
pub fn flags_cache(text: &str) -> Result<Option<PathBuf>, Refusal> {
    Ok((!matches!(text, "none" | "off")).then(|| PathBuf::from(text)))
}

/// Reads the flags of a start without Redis.
pub fn flags_file(text: &str) -> Result<flags::File, Refusal> {
    const BUILT_IN: &str = include_str!("../../flags.toml");
    let file = match text {
        "built-in" => flags::File::parse(BUILT_IN),
        path => flags::File::read(Path::new(path)),
    };
    file.or_else(|wrong| refuse(wrong, "a file of flags like flags.toml, or `built-in`"))
}

/// Parses the token of the admin port.
pub fn admin_token(text: &str) -> Result<(), Refusal> {
    match text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => refuse(
            "is too easy to guess",
            "16 or more visible ASCII characters",
        ),
    }
}

pub fn pool(text: &str) -> Result<u32, Refusal> {
    match text.parse() {
        Ok(connections @ 1..=1_000) => Ok(connections),
        _ => refuse("is not a number of connections", "a number from 1 to 1000"),
    }
}

pub fn workers(text: &str) -> Result<usize, Refusal> {
    match text.parse() {
        Ok(workers @ 0..=64) => Ok(workers),
        _ => refuse(
            "is not a number of workers",
            "a number up to 64; 0 for none",
        ),
    }
}

/// Parses what happens to the schema at the start; `auto` follows from the database.
pub fn migrate(text: &str) -> Result<Option<Migrate>, Refusal> {
    match text {
        "auto" => Ok(None),
        "check" => Ok(Some(Migrate::Check)),
        "apply" => Ok(Some(Migrate::Apply)),
        "off" => Ok(Some(Migrate::Off)),
        _ => refuse("is unknown", "check, apply, off, or auto"),
    }
}

/// Parses the origins whose pages may call the API.
pub fn cors_origins(text: &str) -> Result<Option<Origins>, Refusal> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some).or_else(|wrong: &str| {
            refuse(
                wrong,
                "exact origins like `https://shop.example, http://localhost:3000`, or `none`",
            )
        }),
    }
}

/// Parses the URL of a collector, where this binary can send traces.
pub fn collector(text: &str) -> Result<Option<String>, Refusal> {
    match text {
        "none" => Ok(None),
        _ if !cfg!(feature = "otel") => refuse(
            "needs the feature `otel`, which this binary is built without",
            "`none`, or a binary of `cargo build --features otel`",
        ),
        _ => collector_url(text).map(Some),
    }
}

fn collector_url(text: &str) -> Result<String, Refusal> {
    const RIGHT: &str = "the base of a URL like http://localhost:4318, or `none`";
    let wrong = match text.parse::<Uri>() {
        Ok(url) if url.scheme_str() == Some("https") => {
            return refuse(
                "is reached by TLS, which the exporter does not speak",
                "a collector beside the service, like http://localhost:4318, that passes spans on",
            );
        }
        Ok(url) if url.scheme_str() != Some("http") => "is no URL of http",
        Ok(url) if url.authority().is_none_or(|to| to.as_str().contains('@')) => {
            "has a password, and would be logged with it"
        }
        Ok(url) if url.query().is_some() => "has a query",
        Ok(_) => return Ok(text.to_owned()),
        Err(_) => "is no URL",
    };
    refuse(wrong, RIGHT)
}

/// Parses the name of this service in traces.
pub fn service(text: &str) -> Result<String, Refusal> {
    match text.len() <= 255 && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => refuse("is no name", "up to 255 characters"),
    }
}

pub fn sampler(text: &str) -> Result<Sampler, Refusal> {
    let sampler = Sampler::parse(text);
    sampler.map_or_else(
        || {
            refuse(
                "is unknown",
                "always_on, always_off or traceidratio, each also after parentbased_",
            )
        },
        Ok,
    )
}

/// Parses the share of traces that a sampler keeps.
pub fn ratio(text: &str) -> Result<f64, Refusal> {
    match text.parse() {
        Ok(ratio @ 0.0..=1.0) => Ok(ratio),
        _ => refuse("is no share", "a number from 0 to 1"),
    }
}
