//! Feature flags that all instances share, read without waiting.
//!
//! ```text
//! if flags.is_on("new-prices", Some(tenant), false) { … }
//! ```
//!
//! A reader takes no lock, allocates nothing and waits for nothing: the flags are in memory. [`Refresher`] follows Redis.
//! While Redis is away, hangs, is empty or has rubbish, the last good flags stay; so does the last good value of each
//! flag that cannot be read. A process that starts then takes those of its cache on disk, else those of a file.
//!
//! This folder depends on nothing else in `src/`: copy it. There is no adapter for OpenFeature: `open-feature` 0.3 brings
//! `mockall` into the product, and boxes a future for each value.

pub mod admin;
mod bucket;
mod cache;
mod file;
mod flag;
mod metrics;
mod redis;
mod refresh;
mod table;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

pub use self::{file::File, redis::Redis, refresh::Refresher};
use self::{flag::Decision, table::Table};

/// The failed looks in a row that the health check warns after.
const LOOKS: u32 = 6;

/// Where the flags come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the flags of the file, for ever.
    pub redis: Option<Redis>,
    /// The time between two looks at Redis. Hints of changes come between them.
    pub refresh: Duration,
    /// The file that keeps the flags of Redis for a start without it.
    pub cache: Option<PathBuf>,
    /// The flags of a start without Redis and cache, and the first ones in Redis.
    pub file: File,
}

/// The flags of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Flags(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    table: ArcSwap<Table>,
    state: ArcSwap<State>,
    /// The number of failed looks.
    failures: AtomicU64,
    /// Wakes the refresher after a change by this process.
    wake: Notify,
    /// Notified after each look.
    looks: watch::Sender<()>,
}

/// What is known of the flags in force.
#[derive(Clone, Debug)]
struct State {
    source: Source,
    /// The last time that they were those of the source, and their age then.
    confirmed: Instant,
    age_then: Duration,
    failed_in_a_row: u32,
    /// The error of the last look.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    File,
    Cache,
    Redis,
}

// === impl Flags ===

impl Flags {
    /// Creates the flags with the values of the file. A [`Refresher`] loads newer ones.
    pub fn new(settings: Settings) -> Self {
        let table = Table {
            flags: settings.file.0.clone(),
            ..Table::default()
        };
        let state = State {
            source: Source::File,
            confirmed: Instant::now(),
            age_then: Duration::ZERO,
            failed_in_a_row: 0,
            error: None,
        };
        Self(Arc::new(Shared {
            settings,
            table: ArcSwap::from_pointee(table),
            state: ArcSwap::from_pointee(state),
            failures: AtomicU64::new(0),
            wake: Notify::new(),
            looks: watch::Sender::new(()),
        }))
    }

    /// Returns the refresher. A process has one.
    pub fn refresher(&self) -> Refresher {
        Refresher::new(self.clone())
    }

    /// Returns true if the flag is on for the tenant, or for a caller without one. `default` is the value of a flag that
    /// is not known.
    pub fn is_on(&self, key: &str, tenant: Option<&str>, default: bool) -> bool {
        self.decide(key, tenant)
            .map_or(default, |decision| decision.value)
    }

    /// Returns the value with its reason; `None` if the flag is not known.
    fn decide(&self, key: &str, tenant: Option<&str>) -> Option<Decision> {
        let table = self.0.table.load();
        Some(table.get(key)?.decide(key, tenant))
    }

    /// Checks that the flags are as Redis has them.
    ///
    /// # Errors
    ///
    /// The last six looks have failed. The service does without: let it be an optional check.
    pub fn check(&self) -> Result<(), String> {
        let state = self.0.state.load();
        if state.failed_in_a_row < LOOKS {
            return Ok(());
        }
        let age = state.age().as_secs();
        let error = state.error.as_deref().unwrap_or_default();
        Err(format!("the flags are {age} s old: {error}"))
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn table(&self) -> Arc<Table> {
        self.0.table.load_full()
    }

    fn source(&self) -> Source {
        self.0.state.load().source
    }

    /// Puts other flags in force; returns the last ones.
    fn replace(&self, table: Table) -> Arc<Table> {
        self.0.table.swap(Arc::new(table))
    }

    /// Records that the flags in force are those of the source, where they have this age.
    fn confirm(&self, source: Source, age: Duration) {
        let failed = self.0.state.load().failed_in_a_row > 0;
        if failed {
            info!("the flags are refreshed again");
        }
        self.0.state.store(Arc::new(State {
            source,
            confirmed: Instant::now(),
            age_then: age,
            failed_in_a_row: 0,
            error: None,
        }));
    }

    /// Records that Redis could not be read.
    fn fail(&self, error: String) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = State::clone(&self.0.state.load());
        // Once for each time.
        if state.failed_in_a_row == 0 {
            warn!(error, "the flags cannot be refreshed; the last ones stay");
        }
        state.failed_in_a_row = state.failed_in_a_row.saturating_add(1);
        state.error = Some(error);
        self.0.state.store(Arc::new(state));
    }

    async fn wakened(&self) {
        self.0.wake.notified().await;
    }

    fn looked(&self) {
        self.0.looks.send_replace(());
    }

    /// Waits until this process has the flags of this version, but not for long: Redis has them.
    async fn refreshed(&self, version: u64) {
        const LONG: Duration = Duration::from_secs(1);
        let mut looks = self.0.looks.subscribe();
        self.0.wake.notify_one();
        let there = || self.0.table.load().version >= Some(version);
        let _ = tokio::time::timeout(LONG, looks.wait_for(|()| there())).await;
    }
}

// === impl State ===

impl State {
    /// Returns the time since the flags were those of Redis, or since the start where they never were.
    fn age(&self) -> Duration {
        self.age_then + self.confirmed.elapsed()
    }
}

// === impl Source ===

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Cache => "cache",
            Self::Redis => "redis",
        }
    }
}
