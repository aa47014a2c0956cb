//! Keeps the flags of this process as Redis has them, and keeps what it has while Redis is away.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Flags, Source,
    cache::Cache,
    redis::{Failed, Found, Link},
    table::Table,
};

/// The limit of the first look: the service is not ready before it.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The limit of every other look.
const LOOK: Duration = Duration::from_secs(5);
/// The pause between a hint and the look, in milliseconds and by chance: many instances have the same hint, and one look
/// is for many hints.
const SPREAD: std::ops::Range<u64> = 20..100;
/// The invalid flags that are named in the log, each time that some are new.
const NAMED: usize = 10;

/// The one that changes the flags of this process.
pub struct Refresher {
    flags: Flags,
    link: Option<Link>,
    cache: Option<Cache>,
    /// The flags before those in force. They are freed here, where no request waits for it.
    retired: Option<Arc<Table>>,
}

impl Refresher {
    pub(super) fn new(flags: Flags) -> Self {
        let cache = flags.settings().cache.as_deref().map(Cache::new);
        Self {
            flags,
            link: None,
            cache,
            retired: None,
        }
    }

    /// Loads the flags of Redis, if it answers within 2 s; else those of the cache, else those of the file. The service
    /// is ready after it.
    pub async fn load(&mut self) {
        if self.flags.settings().redis.is_none() {
            return self.log_loaded();
        }
        // First, so that what is invalid in Redis has its last value.
        self.load_cache().await;
        self.refresh(FIRST_LOOK).await;
        self.log_loaded();
    }

    fn log_loaded(&self) {
        let table = self.flags.table();
        let source = self.flags.source().as_str();
        info!(source, flags = table.flags.len(), "the flags are loaded");
    }

    async fn load_cache(&mut self) {
        let Some(cache) = &self.cache else { return };
        if let Some((table, age)) = cache.read().await {
            report_invalid(&table, &Table::default());
            self.flags.replace(table);
            self.flags.confirm(Source::Cache, age);
        }
    }

    /// Follows Redis, if there is one, until the stop.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.flags.settings().redis.is_none() {
            // A worker that ends before the stop is an error in the log.
            return stop.cancelled().await;
        }
        let mut next = Instant::now();
        if self.flags.source() == Source::Redis {
            next += self.pause();
        }
        self.begin_write();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                done = written(&mut self.cache) => {
                    // One that failed is tried anew after the next look.
                    if done {
                        self.begin_write();
                    }
                    continue;
                }
                () = sleep_until(next) => {}
                () = self.flags.wakened() => {}
                hint = hint(&mut self.link) => match hint {
                    true => {
                        let pause = Duration::from_millis(fastrand::u64(SPREAD));
                        stop.run_until_cancelled(sleep(pause)).await;
                    }
                    // The next look connects anew.
                    false => {
                        self.link = None;
                        continue;
                    }
                },
            }
            stop.run_until_cancelled(self.refresh(LOOK)).await;
            self.begin_write();
            next = Instant::now() + self.pause();
        }
        if let Some(cache) = self.cache {
            cache.end().await;
        }
    }

    /// Returns the pause before the next look: by chance, so that instances which started together do not look together.
    fn pause(&self) -> Duration {
        let refresh = self.flags.settings().refresh;
        refresh.mul_f64(0.75 + fastrand::f64() / 2.0)
    }

    async fn refresh(&mut self, within: Duration) {
        let idle = self.link.is_some();
        let mut looked = self.look_within(within).await;
        // A connection that was idle may have been closed, which is no fault of Redis.
        if idle && self.link.is_none() {
            looked = self.look_within(within).await;
        }
        let changed = looked.unwrap_or_else(|failed| {
            self.flags.fail(failed.error);
            false
        });
        self.flags.looked();
        if let (true, Some(cache)) = (changed, &mut self.cache) {
            cache.change();
        }
    }

    /// Looks, and drops a connection that is of no more use.
    async fn look_within(&mut self, within: Duration) -> Result<bool, Failed> {
        let looked = timeout(within, self.look(within)).await;
        let looked = looked.unwrap_or_else(|_| Err(Failed::late(within)));
        if looked.as_ref().is_err_and(|failed| failed.lost) {
            self.link = None;
        }
        looked
    }

    /// Returns true if the flags have changed.
    async fn look(&mut self, within: Duration) -> Result<bool, Failed> {
        let Some(redis) = &self.flags.settings().redis else {
            return Ok(false);
        };
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(redis.link(within).await?),
        };
        link.forget_hints();
        match link.look().await? {
            Found::Unchanged => {
                self.flags.confirm(Source::Redis, Duration::ZERO);
                Ok(false)
            }
            // A file has no version: those flags were never in Redis.
            Found::Nothing if self.flags.table().version.is_none() => {
                self.flags.confirm(Source::File, Duration::ZERO);
                Ok(false)
            }
            Found::Nothing => Err(Failed::of("Redis has lost the flags")),
            Found::Flags { version, rows } => {
                let last = self.flags.table();
                let retired = self.retired.take();
                // There may be many, and requests are to be answered meanwhile.
                let read = spawn_blocking(move || {
                    drop(retired);
                    let table = Table::read(rows, version, &last);
                    report_invalid(&table, &last);
                    table
                });
                let table = read.await.map_err(Failed::of)?;
                // A new connection reads them, changed or not.
                if self.flags.table().version != Some(version) {
                    info!(version, flags = table.flags.len(), "the flags have changed");
                }
                self.retired = Some(self.flags.replace(table));
                self.flags.confirm(Source::Redis, Duration::ZERO);
                link.saw(version);
                Ok(true)
            }
        }
    }

    fn begin_write(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.begin(|| self.flags.table());
        }
    }
}

/// Waits for the end of a write of the cache; for ever without one. Returns false if it has failed.
async fn written(cache: &mut Option<Cache>) -> bool {
    match cache {
        Some(cache) => cache.written().await,
        None => std::future::pending().await,
    }
}

/// Waits for a hint; for ever without a connection.
async fn hint(link: &mut Option<Link>) -> bool {
    match link {
        Some(link) => link.hint().await,
        None => std::future::pending().await,
    }
}

/// Logs the flags that are invalid and were not before.
fn report_invalid(table: &Table, last: &Table) {
    let known = |key: &String, error: &String| last.invalid.get(key) == Some(error);
    let new = table.invalid.iter();
    let mut new = new.filter(|(key, error)| !known(key, error));
    for (flag, error) in new.by_ref().take(NAMED) {
        warn!(flag, error, "a flag is invalid; its last value stays");
    }
    match new.count() {
        0 => {}
        more => warn!(more, "more flags are invalid; their last values stay"),
    }
}
