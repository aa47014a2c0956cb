//! Configuration from the environment: read once and validated completely, before anything else happens.
//!
//! All errors are reported at once, because a deployment that fails five times for five typing errors takes five times
//! as long.

mod duration;
mod problems;
mod values;

use std::{
    ffi::OsString,
    fmt,
    io::IsTerminal,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use lameduck::{
    Timeouts,
    rate_limit::{Quota, redis::RedisLimiter},
    real_ip::{ClientIpHeader, TrustedProxies},
};
use tracing_subscriber::filter::{LevelFilter, Targets};

pub use self::problems::Problems;
use self::problems::Reader;
use crate::shutdown;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// All settings. `None` for a timeout or a limit is `off`.
#[derive(Debug)]
pub struct Config {
    pub address: SocketAddr,
    /// Metrics, health and the status page; not for the public.
    pub admin: Option<SocketAddr>,
    pub read_header_timeout: Option<Duration>,
    pub response_head_timeout: Option<Duration>,
    pub read_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub body_limit: Option<u64>,
    pub websocket_idle: Duration,
    pub trusted_proxies: TrustedProxies,
    pub client_ip_header: ClientIpHeader,
    pub rate_limit: Option<Quota>,
    pub redis: Option<RedisLimiter>,
    pub lame_duck: Duration,
    pub drain_timeout: Duration,
    /// The wait, before the end, for Prometheus to read the final values.
    pub last_scrape: Option<Duration>,
    pub termination_grace: Duration,
    pub startup_delay: Option<Duration>,
    pub log_level: Targets,
    pub log_format: LogFormat,
}

impl Config {
    pub fn from_env() -> Result<Self, Problems> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Problems> {
        let mut env = Reader::new(&lookup);
        let seconds = Duration::from_secs;

        let host = env.read("HOST", IpAddr::V4(Ipv4Addr::UNSPECIFIED), values::host);
        let port = env.read("PORT", 8080, values::port);
        let admin_host = env.read("ADMIN_HOST", IpAddr::V4(Ipv4Addr::LOCALHOST), values::host);
        let admin_port = env.read("ADMIN_PORT", Some(8081), values::admin_port);
        let config = Self {
            address: SocketAddr::new(host, port),
            admin: admin_port.map(|port| SocketAddr::new(admin_host, port)),
            read_header_timeout: env.read("READ_HEADER_TIMEOUT", Some(seconds(5)), values::timeout),
            response_head_timeout: env.read(
                "RESPONSE_HEAD_TIMEOUT",
                Some(seconds(30)),
                values::timeout,
            ),
            read_timeout: env.read("READ_TIMEOUT", None, values::timeout),
            write_timeout: env.read("WRITE_TIMEOUT", None, values::timeout),
            idle_timeout: env.read("IDLE_TIMEOUT", Some(seconds(120)), values::timeout),
            request_timeout: env.read("REQUEST_TIMEOUT", Some(seconds(10)), values::timeout),
            body_limit: env.read("BODY_LIMIT", Some(1024 * 1024), values::body_limit),
            websocket_idle: env.read("WEBSOCKET_IDLE", seconds(30), values::websocket_idle),
            trusted_proxies: env.read(
                "TRUSTED_PROXIES",
                TrustedProxies::none(),
                values::trusted_proxies,
            ),
            client_ip_header: env.read(
                "CLIENT_IP_HEADER",
                ClientIpHeader::XForwardedFor,
                values::client_ip_header,
            ),
            rate_limit: env.read(
                "RATE_LIMIT",
                Some(Quota::per_second(100).burst(200)),
                values::rate_limit,
            ),
            redis: env.read_secret("REDIS_URL", None, values::redis),
            lame_duck: env.read("LAME_DUCK", seconds(5), values::lame_duck),
            drain_timeout: env.read("DRAIN_TIMEOUT", seconds(15), values::budget),
            last_scrape: env.read("LAST_SCRAPE", None, values::timeout),
            termination_grace: env.read("TERMINATION_GRACE", seconds(30), values::budget),
            startup_delay: env.read("STARTUP_DELAY", None, values::timeout),
            log_level: env.read(
                "LOG_LEVEL",
                Targets::new().with_default(LevelFilter::INFO),
                values::log_level,
            ),
            log_format: env.read("LOG_FORMAT", default_log_format(), values::log_format),
        };

        // The values are valid one by one but too long together. This check is skipped if any of them was refused.
        let parts = [
            "LAME_DUCK",
            "DRAIN_TIMEOUT",
            "LAST_SCRAPE",
            "TERMINATION_GRACE",
        ];
        if !parts.iter().any(|part| env.refused(part))
            && let Err(error) = shutdown::check(&config)
        {
            env.refuse(
                "TERMINATION_GRACE",
                format!("{:?}", config.termination_grace),
                values::too_short(&error),
            );
        }
        if config.admin.is_none()
            && let Some(last_scrape) = config.last_scrape
        {
            env.refuse(
                "LAST_SCRAPE",
                format!("{last_scrape:?}"),
                values::no_port_to_scrape(),
            );
        }
        env.finish(config)
    }

    /// Returns the server's deadlines. Stalls and minimum rates are the library's defaults; Go's totals are opt-in.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::default()
            .read_header(self.read_header_timeout)
            .response_head(self.response_head_timeout)
            .read(self.read_timeout)
            .write(self.write_timeout)
            .idle(self.idle_timeout)
    }
}

/// Returns text for a person at a terminal, and JSON for a collector at the end of a pipe.
fn default_log_format() -> LogFormat {
    if std::io::stdout().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    }
}

/// A setting that may be off, formatted as in the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl OrOff<String> {
    pub fn timeout(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| format!("{timeout:?}")))
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(setting) => setting.fmt(f),
            None => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Config, Problems> {
        Config::from_lookup(|name| {
            let (_, value) = environment.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn defaults_match_the_documentation() {
        let config = read(&[]).expect("defaults");
        let seconds = Duration::from_secs;
        assert_eq!(config.address.to_string(), "0.0.0.0:8080");
        assert_eq!(config.admin, "127.0.0.1:8081".parse().ok());
        assert_eq!(config.read_header_timeout, Some(seconds(5)));
        assert_eq!(config.response_head_timeout, Some(seconds(30)));
        assert_eq!(config.read_timeout, None);
        assert_eq!(config.write_timeout, None);
        assert_eq!(config.idle_timeout, Some(seconds(120)));
        assert_eq!(config.request_timeout, Some(seconds(10)));
        let timeouts = Timeouts::default().response_head(seconds(30));
        assert_eq!(config.timeouts(), timeouts);
        assert_eq!(config.body_limit, Some(1024 * 1024));
        assert!(config.trusted_proxies.is_empty());
        assert_eq!(config.client_ip_header, ClientIpHeader::XForwardedFor);
        assert_eq!(config.rate_limit, "100/s burst 200".parse().ok());
        assert!(config.redis.is_none());
        assert_eq!(config.lame_duck, seconds(5));
        assert_eq!(config.drain_timeout, seconds(15));
        assert_eq!(config.termination_grace, seconds(30));
        assert_eq!(config.last_scrape, None);
        assert_eq!(config.startup_delay, None);
        assert_eq!(config.log_level.to_string(), "info");
    }

    #[test]
    fn go_totals_are_opt_in() {
        let set = [
            ("READ_TIMEOUT", "15s"),
            ("WRITE_TIMEOUT", "30s"),
            ("RESPONSE_HEAD_TIMEOUT", "off"),
        ];
        let seconds = Duration::from_secs;
        let timeouts = Timeouts::default()
            .response_head(None)
            .read(seconds(15))
            .write(seconds(30));
        assert_eq!(read(&set).expect("set").timeouts(), timeouts);
    }

    #[test]
    fn empty_value_counts_as_unset() {
        assert_eq!(read(&[("PORT", "")]).expect("unset").address.port(), 8080);
    }

    #[test]
    fn timeouts_can_be_off_and_budgets_cannot() {
        let off = [
            "ADMIN_PORT",
            "WRITE_TIMEOUT",
            "REQUEST_TIMEOUT",
            "BODY_LIMIT",
            "RATE_LIMIT",
        ];
        let config = read(&off.map(|variable| (variable, "off"))).expect("off");
        assert_eq!(config.admin, None);
        assert_eq!(config.write_timeout, None);
        assert_eq!(config.request_timeout, None);
        assert_eq!(config.body_limit, None);
        assert_eq!(config.rate_limit, None);

        let problems = read(&[("DRAIN_TIMEOUT", "off")]).expect_err("a drain has an end");
        assert!(problems.to_string().contains("DRAIN_TIMEOUT=off"));
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("1KiB", 1024), ("2MB", 2_000_000)] {
            let config = read(&[("BODY_LIMIT", text)]).expect(text);
            assert_eq!(config.body_limit, Some(bytes), "{text}");
        }
    }

    #[test]
    fn secret_is_not_shown() {
        let problems = read(&[("REDIS_URL", "http://user:hunter2@redis")])
            .expect_err("not a Redis URL")
            .to_string();
        assert!(problems.contains("REDIS_URL="), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }

    #[test]
    fn oversized_budgets_are_reported_with_other_errors() {
        let problems = read(&[("DRAIN_TIMEOUT", "40s"), ("PORT", "http")])
            .expect_err("40s does not fit 30s")
            .to_string();
        assert!(problems.contains("PORT=http"), "{problems}");
        assert!(problems.contains("TERMINATION_GRACE=30s"), "{problems}");
        assert!(problems.contains("lower drain to"), "{problems}");
    }

    #[test]
    fn last_scrape_needs_an_admin_port() {
        let problems = read(&[("ADMIN_PORT", "off"), ("LAST_SCRAPE", "2s")])
            .expect_err("there is no port to scrape")
            .to_string();
        assert!(problems.contains("LAST_SCRAPE=2s"), "{problems}");
        assert!(problems.contains("ADMIN_PORT=off"), "{problems}");
        assert!(read(&[("LAST_SCRAPE", "1s")]).is_ok());
    }

    #[test]
    fn lame_duck_may_be_off() {
        for off in ["off", "0s", "0ms"] {
            let config = read(&[("LAME_DUCK", off)]).expect(off);
            assert_eq!(config.lame_duck, Duration::ZERO, "{off}");
        }
        for wrong in [
            ("LAME_DUCK", "0"),
            ("DRAIN_TIMEOUT", "0s"),
            ("DRAIN_TIMEOUT", "off"),
        ] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let wrong = [
            ("HOST", "localhost"),
            ("PORT", "http"),
            ("ADMIN_HOST", "admin"),
            ("ADMIN_PORT", "none"),
            ("READ_HEADER_TIMEOUT", "5"),
            ("RESPONSE_HEAD_TIMEOUT", "1 min"),
            ("READ_TIMEOUT", "0s"),
            ("WRITE_TIMEOUT", "400h"),
            ("IDLE_TIMEOUT", "soon"),
            ("LAME_DUCK", "-5s"),
            ("DRAIN_TIMEOUT", "-1s"),
            ("LAST_SCRAPE", "15"),
            ("TERMINATION_GRACE", "30 s"),
            ("STARTUP_DELAY", "1s1s"),
            ("WEBSOCKET_IDLE", "0s"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("RATE_LIMIT", "100/sec"),
            ("REQUEST_TIMEOUT", "10"),
            ("BODY_LIMIT", "1 MiB"),
            ("TRUSTED_PROXIES", "10.0.0.1/8"),
            ("CLIENT_IP_HEADER", "x forwarded for"),
        ];
        let problems = read(&wrong).expect_err("nothing is right").to_string();
        for (variable, value) in wrong {
            assert!(
                problems.contains(&format!("{variable}={value}\n")),
                "{problems}"
            );
        }
    }
}
