//! The flags that a person writes in TOML.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use super::{
    flag::{Flag, check_key},
    table::ByKey,
};

/// The flags of a start without Redis, and the first ones in Redis.
#[derive(Clone, Debug, Default)]
pub struct File(pub(super) ByKey);

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
