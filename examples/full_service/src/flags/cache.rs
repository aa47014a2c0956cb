//! The cache on disk: the flags that were last read from Redis, for a start without it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout},
};
use tracing::warn;

use super::{flag::Flag, table::Table};

/// The largest file, in bytes: 10,000 flags, ten of them with two full lists of tenants.
const LARGEST: u64 = 64 * 1024 * 1024;
/// The limit of the read: the service is not ready before it.
const READ: Duration = Duration::from_secs(2);
/// The time after which a write is late.
const LATE: Duration = Duration::from_secs(5);
/// The limit of a write at the stop.
const LAST: Duration = Duration::from_secs(1);

/// The cache of a process. Nothing waits for its writes: a disk may hang.
pub(super) struct Cache {
    path: Arc<Path>,
    /// Whether the flags have changed since the last write that succeeded.
    due: bool,
    /// The write under way. It is a thread, which goes on whatever becomes of its future; so there is one at a time.
    write: Option<Running>,
    /// Whether the log names the fault, once for each time.
    warned: bool,
}

struct Running {
    begun: Instant,
    task: JoinHandle<io::Result<()>>,
}

#[derive(Serialize, Deserialize)]
struct Cached<F> {
    version: u64,
    /// In seconds since 1970.
    written_at: u64,
    flags: F,
}

// === impl Cache ===

impl Cache {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            due: false,
            write: None,
            warned: false,
        }
    }

    /// Reads the flags and their age, within 2 s. `None` if there is no such file, or it cannot be read.
    pub async fn read(&self) -> Option<(Table, Duration)> {
        let path = self.path.clone();
        let error = match timeout(READ, spawn_blocking(move || read(&path))).await {
            Ok(Ok(Ok(found))) => return found,
            Ok(Ok(Err(error))) => error,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer of the disk within {READ:?}"),
        };
        warn!(error, path = %self.path.display(), "the cache of flags cannot be read");
        None
    }

    /// Records that the flags have changed.
    pub fn change(&mut self) {
        self.due = true;
    }

    /// Begins a write of the flags if one is due and none is under way.
    pub fn begin(&mut self, flags: impl FnOnce() -> Arc<Table>) {
        if let Some(write) = &self.write {
            let late = write.begun.elapsed() >= LATE;
            if late && !std::mem::replace(&mut self.warned, true) {
                warn!(path = %self.path.display(), "the cache of flags is not written yet");
            }
        } else if self.due {
            self.due = false;
            let (path, table) = (self.path.clone(), flags());
            self.write = Some(Running {
                begun: Instant::now(),
                task: spawn_blocking(move || write(&path, &table)),
            });
        }
    }

    /// Waits for the end of the write under way; for ever, if there is none. Returns false if it has failed: then it is
    /// due again.
    pub async fn written(&mut self) -> bool {
        let Some(write) = &mut self.write else {
            return std::future::pending().await;
        };
        let error = match (&mut write.task).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.write = None;
        let Some(error) = error else {
            self.warned = false;
            return true;
        };
        self.due = true;
        if !std::mem::replace(&mut self.warned, true) {
            warn!(error, path = %self.path.display(), "the cache of flags cannot be written");
        }
        false
    }

    #[cfg(test)]
    pub fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// Waits at the stop for the write under way, for at most 1 s: the end of the process would leave half a file beside
    /// the cache.
    pub async fn end(mut self) {
        if self.write.is_some() && timeout(LAST, self.written()).await.is_err() {
            warn!(path = %self.path.display(), "the cache of flags is not written");
        }
    }
}

/// Reads a cache: the flags and their age. `None` if there is no such file.
///
/// # Errors
///
/// The file cannot be read, is too large, or is no cache.
pub(super) fn read(path: &Path) -> Result<Option<(Table, Duration)>, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut json = Vec::new();
    // One byte more distinguishes a file that is too large from one that fits.
    let read = file.take(LARGEST + 1).read_to_end(&mut json);
    read.map_err(|error| error.to_string())?;
    check_size(&json).map_err(|error| error.to_string())?;
    // One by one: another version of the service may have written some that this one cannot read.
    let cached: Cached<BTreeMap<String, Value>> =
        serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let rows = cached.flags.into_iter();
    let rows = rows.map(|(key, flag)| (key.into_bytes(), flag.to_string().into_bytes()));
    let table = Table::read(rows.collect(), cached.version, &Table::default());
    let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(cached.written_at));
    // A clock that was set back makes it new, which the next refresh corrects.
    let age = written.and_then(|written| written.elapsed().ok());
    Ok(Some((table, age.unwrap_or_default())))
}

/// Writes a cache, whole or not at all.
///
/// # Errors
///
/// The file cannot be written, or would be too large to be read; the one before stays.
pub(super) fn write(path: &Path, table: &Table) -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let flags = table.flags.iter().map(|(key, flag)| (&**key, &**flag));
    let cached = Cached {
        version: table.version.unwrap_or_default(),
        written_at: now.as_secs(),
        flags: flags.collect::<BTreeMap<&str, &Flag>>(),
    };
    let json = serde_json::to_vec(&cached)?;
    check_size(&json)?;
    let new = beside(path);
    let mut file = fs::File::create_new(&new)?;
    let written = file.write_all(&json).and_then(|()| {
        // Without it a crash of the machine may leave an empty file under the name.
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn check_size(json: &[u8]) -> io::Result<()> {
    match json.len() as u64 > LARGEST {
        true => Err(io::Error::other("it is larger than 64 MiB")),
        false => Ok(()),
    }
}

/// Returns the name of a new file, which no other writer has: in containers all processes may have one id.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", fastrand::u64(..)));
    PathBuf::from(name)
}
