//! The flags on disk: those that a person writes in TOML, and the cache of those of Redis.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    flag::{Flag, check_key},
    table::{ByKey, Table},
};

/// The flags of a start without Redis, and the first ones in Redis.
#[derive(Clone, Debug, Default)]
pub struct File(pub(super) ByKey);

/// The flags that were last read from Redis.
#[derive(Serialize, Deserialize)]
struct Cached<F> {
    version: u64,
    /// In seconds since 1970.
    written_at: u64,
    flags: F,
}

// === impl File ===

impl File {
    /// Reads flags in TOML, a table for each.
    ///
    /// # Errors
    ///
    /// The text is no TOML, or a flag is invalid; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let flags: BTreeMap<Box<str>, Flag> = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let message = error.message().replace('\n', " ");
            match before {
                Some(before) => format!("line {}: {message}", 1 + before.matches('\n').count()),
                None => message,
            }
        })?;
        let mut by_key = ByKey::with_capacity(flags.len());
        for (key, flag) in flags {
            check_key(&key).map_err(|wrong| format!("{key:?}: {wrong}"))?;
            // Redis counts versions, from 1.
            by_key.insert(key, Arc::new(Flag { version: 0, ..flag }));
        }
        Ok(Self(by_key))
    }

    /// Reads a file of flags.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its text cannot.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }
}

/// Reads the cache: the flags and their age. `None` if there is no such file.
///
/// # Errors
///
/// The file cannot be read, or is no cache.
pub(super) fn read_cache(path: &Path) -> Result<Option<(Table, Duration)>, String> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
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

/// Writes the cache, whole or not at all.
///
/// # Errors
///
/// The file cannot be written; the one before stays.
pub(super) fn write_cache(path: &Path, table: &Table) -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let flags = table.flags.iter().map(|(key, flag)| (&**key, &**flag));
    let cached = Cached {
        version: table.version.unwrap_or_default(),
        written_at: now.as_secs(),
        flags: flags.collect::<BTreeMap<&str, &Flag>>(),
    };
    let json = serde_json::to_vec(&cached)?;
    let new = beside(path);
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(&json)?;
        // Without it a crash of the machine may leave an empty file under the name.
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Returns the name of the new file. Processes that share a cache do not share it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}
