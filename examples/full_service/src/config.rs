//! Configuration from the environment: read once and validated completely, before anything else happens.
//!
//! All errors are reported at once, because a deployment that fails five times for five typing errors takes five times
//! as long.

mod duration;
mod env_file;
mod problems;
mod sources;
#[cfg(test)]
mod tests;
mod values;

use std::{
    ffi::OsString,
    fmt,
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lameduck::{
    Timeouts,
    rate_limit::{Quota, redis::RedisLimiter},
    real_ip::{ClientIpHeader, TrustedProxies},
};
use tracing_subscriber::filter::Targets;

pub use self::problems::{Problems, Settings};
use self::{
    env_file::EnvFile,
    problems::{Reader, Refused},
    sources::Sources,
};
use crate::{api::cors::Origins, flags, secret::Secret, shutdown::Budgets, traces};

/// The variable that makes a file `.env` in the working folder count: `dev`.
const ENVIRONMENT: &str = "SERVICE_ENV";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The treatment of the schema at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Refuses to start on a schema that this version cannot work with.
    Check,
    /// Applies what is pending.
    Apply,
    Off,
}

/// All settings. `None` for a timeout or a limit is `off`.
#[derive(Debug)]
pub struct Config {
    pub address: SocketAddr,
    /// Metrics, health and the status page; not for the public.
    pub admin: Option<SocketAddr>,
    /// For changes on the admin port from other machines; `None` refuses them.
    pub admin_token: Option<Secret<String>>,
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
    pub cors_origins: Option<Origins>,
    pub rate_limit: Option<Quota>,
    pub redis: Option<RedisLimiter>,
    pub flags: flags::Settings,
    pub database: Secret<String>,
    pub database_pool: u32,
    pub database_acquire_timeout: Duration,
    pub database_statement_timeout: Duration,
    pub migrate: Migrate,
    pub jobs: usize,
    pub job_lease: Duration,
    pub lame_duck: Duration,
    pub drain_timeout: Duration,
    /// The wait, before the end, for Prometheus to read the final values.
    pub last_scrape: Option<Duration>,
    /// The collector of traces, if there is one.
    pub traces: Option<traces::Settings>,
    pub termination_grace: Duration,
    pub startup_delay: Option<Duration>,
    pub log_level: Targets,
    pub log_format: LogFormat,
    /// What is allowed and should be changed.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the environment and, if it is named or this is development, a file.
    ///
    /// # Errors
    ///
    /// Fails if a setting is wrong; the error names all that are.
    pub fn read(env_file: Option<&Path>) -> Result<(Self, Settings), Problems> {
        let environment = |name: &str| std::env::var_os(name);
        let development = environment(ENVIRONMENT).is_some_and(|value| value == "dev");
        let path = match env_file {
            Some(path) => Some(path.to_owned()),
            None => development
                .then(|| PathBuf::from(".env"))
                .filter(|path| path.exists()),
        };
        let Some(path) = path.map(|path| path.display().to_string()) else {
            return Self::from_sources(&Sources::new(&environment, None));
        };
        let file = EnvFile::read(Path::new(&path))
            .map_err(|error| Problems::of_file(path.clone(), error.to_string()))?;
        Self::with_file(&environment, &path, file)
    }

    /// Reads the environment and a file, and warns of what is allowed in the file and should be changed.
    fn with_file(
        environment: &dyn Fn(&str) -> Option<OsString>,
        path: &str,
        file: EnvFile,
    ) -> Result<(Self, Settings), Problems> {
        let (names, shared) = (file.names(), file.shared);
        let (mut config, settings) = Self::from_sources(&Sources::new(environment, Some(file)))?;
        if shared && SECRETS.iter().any(|secret| names.contains(*secret)) {
            config.warnings.push(format!(
                "{path} has a secret, and others than its owner may read it: chmod 600"
            ));
        }
        let of_secret = |name: &str| {
            let secret = name.strip_suffix("_FILE");
            secret.is_some_and(|secret| SECRETS.contains(&secret))
        };
        let unknown = |name: &&String| !settings.know(name) && !of_secret(name);
        for name in names.iter().filter(unknown) {
            let warning = format!("{path} sets {name}, which is no setting: it has no effect");
            config.warnings.push(warning);
        }
        Ok((config, settings))
    }

    fn from_sources(sources: &Sources<'_>) -> Result<(Self, Settings), Problems> {
        let mut env = Reader::new(sources);
        let host = env.read("HOST", "0.0.0.0", values::host);
        let port = env.read("PORT", "8080", values::port);
        let admin_host = env.read("ADMIN_HOST", "127.0.0.1", values::host);
        let admin_port = env.read("ADMIN_PORT", "8081", values::admin_port);
        let admin_token = env.read_secret(ADMIN_TOKEN, None, values::admin_token);
        let read_header_timeout = env.read("READ_HEADER_TIMEOUT", "5s", values::timeout);
        let response_head_timeout = env.read("RESPONSE_HEAD_TIMEOUT", "30s", values::timeout);
        let read_timeout = env.read("READ_TIMEOUT", "off", values::timeout);
        let write_timeout = env.read("WRITE_TIMEOUT", "off", values::timeout);
        let idle_timeout = env.read("IDLE_TIMEOUT", "120s", values::timeout);
        let request_timeout = env.read("REQUEST_TIMEOUT", "10s", values::timeout);
        let body_limit = env.read("BODY_LIMIT", "1MiB", values::body_limit);
        let websocket_idle = env.read("WEBSOCKET_IDLE", "30s", values::websocket_idle);
        let trusted_proxies = env.read("TRUSTED_PROXIES", "none", values::trusted_proxies);
        let client_ip_header = env.read(
            "CLIENT_IP_HEADER",
            "x-forwarded-for",
            values::client_ip_header,
        );
        let cors_origins = env.read("CORS_ORIGINS", "none", values::cors_origins);
        let rate_limit = env.read("RATE_LIMIT", "100/s burst 200", values::rate_limit);
        let redis = env.read_secret(REDIS_URL, None, values::redis);
        let flags_refresh = env.read("FLAGS_REFRESH", "10s", values::wait);
        let flags_cache = env.read("FLAGS_CACHE", "none", values::flags_cache);
        let flags_file = env.read("FLAGS_FILE", "built-in", values::flags_file);
        let database = env.read_secret(DATABASE_URL, Some(DATABASE), values::database);
        let database_pool = env.read("DATABASE_POOL", "10", values::pool);
        let acquire = env.read("DATABASE_ACQUIRE_TIMEOUT", "2s", values::wait);
        let statement = env.read("DATABASE_STATEMENT_TIMEOUT", "5s", values::wait);
        let migrate = env.read("MIGRATE", "auto", values::migrate);
        let jobs = env.read("JOBS", "2", values::workers);
        let job_lease = env.read("JOB_LEASE", "60s", values::wait);
        let lame_duck = env.read("LAME_DUCK", "5s", values::lame_duck);
        let drain_timeout = env.read("DRAIN_TIMEOUT", "15s", values::budget);
        let last_scrape = env.read("LAST_SCRAPE", "off", values::timeout);
        let termination_grace = env.read("TERMINATION_GRACE", "30s", values::budget);
        let startup_delay = env.read("STARTUP_DELAY", "off", values::timeout);
        let collector = env.read("OTEL_EXPORTER_OTLP_ENDPOINT", "none", values::collector);
        let service = env.read("OTEL_SERVICE_NAME", env!("CARGO_PKG_NAME"), values::service);
        let sampler = env.read("OTEL_TRACES_SAMPLER", SAMPLER, values::sampler);
        let ratio = env.read("OTEL_TRACES_SAMPLER_ARG", "1", values::ratio);
        let log_level = env.read("LOG_LEVEL", "info", values::log_level);
        let log_format = env.read("LOG_FORMAT", default_log_format(), values::log_format);

        // Values that are valid one by one, and not together.
        let traced = matches!(collector, Ok(Some(_)));
        if let (Ok(lame_duck), Ok(drain), Ok(last_scrape), Ok(grace)) =
            (lame_duck, drain_timeout, last_scrape, termination_grace)
            && let Err(error) = (Budgets {
                lame_duck,
                drain,
                last_scrape,
                traces: traced,
                grace,
            })
            .check()
        {
            let grace = format!("{grace:?}");
            env.refuse("TERMINATION_GRACE", grace, values::too_short(&error));
        }
        if let (Ok(None), Ok(Some(last_scrape))) = (admin_port, last_scrape) {
            let last_scrape = format!("{last_scrape:?}");
            env.refuse("LAST_SCRAPE", last_scrape, values::no_port_to_scrape());
        }

        let config = || {
            let (redis, flags_redis) = redis?.map(|(redis, _)| redis).unzip();
            // There is a default.
            let ((), database) = database?.ok_or(Refused)?;
            let (service, sampler, ratio) = (service?, sampler?, ratio?);
            let traces = collector?.map(|endpoint| traces::Settings {
                endpoint,
                service,
                sampler,
                ratio,
            });
            let on_one_machine = database.expose().starts_with("sqlite:");
            Ok(Self {
                address: SocketAddr::new(host?, port?),
                admin: admin_port?
                    .map(|port| Ok(SocketAddr::new(admin_host?, port)))
                    .transpose()?,
                admin_token: admin_token?.map(|((), token)| token),
                read_header_timeout: read_header_timeout?,
                response_head_timeout: response_head_timeout?,
                read_timeout: read_timeout?,
                write_timeout: write_timeout?,
                idle_timeout: idle_timeout?,
                request_timeout: request_timeout?,
                body_limit: body_limit?,
                websocket_idle: websocket_idle?,
                trusted_proxies: trusted_proxies?,
                client_ip_header: client_ip_header?,
                cors_origins: cors_origins?,
                rate_limit: rate_limit?,
                redis,
                flags: flags::Settings {
                    redis: flags_redis,
                    refresh: flags_refresh?,
                    cache: flags_cache?,
                    file: flags_file?,
                },
                database,
                database_pool: database_pool?,
                database_acquire_timeout: acquire?,
                database_statement_timeout: statement?,
                // Several instances share a PostgreSQL: one step of the deployment migrates it, before the first.
                migrate: migrate?.unwrap_or(match on_one_machine {
                    true => Migrate::Apply,
                    false => Migrate::Check,
                }),
                jobs: jobs?,
                job_lease: job_lease?,
                lame_duck: lame_duck?,
                drain_timeout: drain_timeout?,
                last_scrape: last_scrape?,
                traces,
                termination_grace: termination_grace?,
                startup_delay: startup_delay?,
                log_level: log_level?,
                log_format: log_format?,
                warnings: Vec::new(),
            })
        };
        let config = config();
        env.finish(config)
    }

    /// Returns the budgets of the shutdown.
    pub fn budgets(&self) -> Budgets {
        Budgets {
            lame_duck: self.lame_duck,
            drain: self.drain_timeout,
            last_scrape: self.last_scrape,
            traces: self.traces.is_some(),
            grace: self.termination_grace,
        }
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

const ADMIN_TOKEN: &str = "ADMIN_TOKEN";
const DATABASE_URL: &str = "DATABASE_URL";
const REDIS_URL: &str = "REDIS_URL";
/// The variables that are never shown.
const SECRETS: [&str; 3] = [ADMIN_TOKEN, DATABASE_URL, REDIS_URL];
/// The database of a first start: a file in the working folder.
const DATABASE: &str = "sqlite://orders.db?mode=rwc";
/// OpenTelemetry's own default.
const SAMPLER: &str = "parentbased_always_on";

/// Returns text for a person at a terminal, and JSON for a collector at the end of a pipe.
fn default_log_format() -> &'static str {
    if std::io::stdout().is_terminal() {
        "text"
    } else {
        "json"
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
