//! The database of this process: opened at the start, migrated or checked before the first request, closed at the end.

use std::{
    fmt,
    io::Write,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lameduck::shutdown::ShutdownHandle;
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    cli::EXIT_CONFIG,
    config::{Config, Migrate},
    jobs::{self, JobMetrics},
    migrate::{self, MigrateError, Migrations},
    migrations,
    secret::redact,
    store::{Instance, Settings, Store},
};

/// The limit of the goodbye, which leaves most of the closer's time to the connections.
const GOODBYE: Duration = Duration::from_millis(300);

/// The store, with what the process does for it.
#[derive(Clone)]
pub struct Database {
    store: Store,
    schema: migrate::Database,
    migrations: Migrations,
    at_start: Migrate,
    instance: Instance,
    /// Whether the workers run, of which one puts the instance in its table.
    alive: Arc<AtomicBool>,
    job_metrics: JobMetrics,
}

/// The error of a database that cannot be opened. It has no secrets.
#[derive(Debug)]
pub struct OpenError(String);

/// The connections that did not come back in time, at the end.
#[derive(Debug)]
pub struct StillLent(u32);

// === impl Database ===

impl Database {
    /// Opens the pool. A PostgreSQL that is away does not stop the start: readiness waits for it.
    ///
    /// # Errors
    ///
    /// The URL or the embedded migrations are malformed, or the SQLite file cannot be opened.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let url = config.database.expose();
        let (schema, migrations) = schema(url)?;
        let id = Uuid::now_v7().simple().to_string();
        let version = env!("CARGO_PKG_VERSION");
        let settings = Settings {
            url: url.clone(),
            pool: config.database_pool,
            acquire_timeout: config.database_acquire_timeout,
            statement_timeout: config.database_statement_timeout,
            // PostgreSQL keeps 63 bytes of it.
            instance: format!("{}/{version}/{id}", env!("CARGO_PKG_NAME")),
        };
        let store = Store::connect(&settings).await.map_err(OpenError::of)?;
        Ok(Self {
            store,
            schema,
            at_start: config.migrate,
            instance: Instance {
                id,
                version: version.to_owned(),
                schema_version: migrations.newest(),
                started_at: OffsetDateTime::now_utc(),
            },
            migrations,
            alive: Arc::default(),
            job_metrics: JobMetrics::default(),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns what a scrape shows of the jobs, once the workers run.
    pub fn job_metrics(&self) -> JobMetrics {
        self.job_metrics.clone()
    }

    /// Returns the name of this process.
    pub fn instance(&self) -> &str {
        &self.instance.id
    }

    /// Applies what is pending, or checks that this version can work with the schema.
    ///
    /// # Errors
    ///
    /// The schema does not fit, cannot be migrated, or the database is away.
    pub async fn prepare(&self) -> Result<(), MigrateError> {
        match self.at_start {
            Migrate::Off => return Ok(()),
            Migrate::Check => {}
            Migrate::Apply => {
                let options = migrate::Options {
                    // A contract is a step of its own: older instances may run.
                    expand_only: true,
                    ..migrate::Options::default()
                };
                migrate::apply(&self.schema, &self.migrations, &options).await?;
            }
        }
        // After `apply` too: an expand behind a contract is not applied yet.
        let schema = migrate::check(&self.schema, &self.migrations).await?;
        info!(schema = schema.newest, "the schema fits");
        if !schema.newer.is_empty() {
            warn!(newer = ?schema.newer, "the schema is ahead of this version");
        }
        if !schema.contracts.is_empty() {
            info!(contracts = ?schema.contracts, "contracts wait for `migrate apply`");
        }
        Ok(())
    }

    /// Starts the workers that need the database. The schema must be there.
    pub fn start_workers(&self, handle: &ShutdownHandle, config: &Config) {
        self.alive.store(true, Ordering::Relaxed);
        let settings = jobs::Settings {
            workers: config.jobs,
            lease: config.job_lease,
            instance: self.instance.id.clone(),
        };
        jobs::start(
            handle,
            &self.store,
            &jobs::Handlers::new(self.store.clone()),
            &settings,
        );
        let (instance, metrics) = (self.instance.clone(), self.job_metrics.clone());
        jobs::instance::start(handle, &self.store, instance, metrics);
    }

    /// Says goodbye, and closes the connections.
    ///
    /// # Errors
    ///
    /// Connections were still lent when the time was up.
    pub async fn close(self) -> Result<(), StillLent> {
        if self.alive.load(Ordering::Relaxed) {
            self.say_goodbye().await;
        }
        match self.store.close().await.lent {
            0 => {
                info!("the database is closed");
                Ok(())
            }
            lent => Err(StillLent(lent)),
        }
    }

    async fn say_goodbye(&self) {
        // The row is stale in half a minute without it. All connections may be lent.
        match timeout(GOODBYE, self.store.gone(&self.instance)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the goodbye could not be written"),
            Err(_) => warn!("the goodbye was not written in time"),
        }
    }
}

/// Runs `migrate` of the command line.
pub fn migrate_cli(config: &Config, arguments: Vec<String>) -> ExitCode {
    match schema(config.database.expose()) {
        Ok((database, migrations)) => migrate::cli::run(arguments, &database, &migrations),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Returns the place of the schema, and what it consists of.
fn schema(url: &str) -> Result<(migrate::Database, Migrations), OpenError> {
    let files = match url.starts_with("sqlite:") {
        true => migrations::SQLITE,
        false => migrations::POSTGRES,
    };
    let migrations = Migrations::embedded(files).map_err(OpenError::of)?;
    let database = migrate::Database::parse(url).map_err(OpenError::of)?;
    Ok((database, migrations))
}

// === impl OpenError ===

impl OpenError {
    fn of(error: impl fmt::Display) -> Self {
        Self(redact(&error.to_string()))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for StillLent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 connection was still lent"),
            lent => write!(f, "{lent} connections were still lent"),
        }
    }
}

impl std::error::Error for OpenError {}
impl std::error::Error for StillLent {}
