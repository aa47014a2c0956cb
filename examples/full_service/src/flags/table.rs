//! All flags, as they were at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::flag::{Flag, check_key};

/// The flags by their keys.
pub type ByKey = HashMap<Box<str>, Arc<Flag>>;

/// A row of Redis: a key and a flag, or anything.
pub type Row = (Vec<u8>, Vec<u8>);

/// The longest key that a log line or a page shows, in characters: a foreign row may have a longer one.
const LONGEST_SHOWN: usize = 100;

/// The longest reason, in characters: it may repeat the row.
pub const LONGEST_ERROR: usize = 300;

/// All flags, as they were at one moment.
#[derive(Debug, Default)]
pub struct Table {
    pub flags: ByKey,
    /// The version in Redis; `None` for the flags of a file.
    pub version: Option<u64>,
    /// The rows that cannot be read, with the reason. Such a flag has its last value.
    pub invalid: BTreeMap<String, String>,
}

impl Table {
    /// Reads the rows of Redis. One that cannot be read leaves the flag that `last` has under its key.
    pub fn read(rows: Vec<Row>, version: u64, last: &Self) -> Self {
        let mut table = Self {
            flags: HashMap::with_capacity(rows.len()),
            version: Some(version),
            invalid: BTreeMap::new(),
        };
        for (key, json) in rows {
            let (key, wrong) = match String::from_utf8(key) {
                Ok(key) => match check_key(&key) {
                    Ok(()) => (key, None),
                    Err(wrong) => (key, Some(wrong.to_owned())),
                },
                Err(error) => {
                    let key = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    (key, Some("the key is no text".to_owned()))
                }
            };
            let flag = match wrong {
                None => Flag::parse(&json).map(Arc::new),
                Some(wrong) => Err(wrong),
            };
            let flag = match flag {
                Ok(flag) => Some(flag),
                Err(wrong) => {
                    let shown = key.chars().take(LONGEST_SHOWN).collect();
                    let wrong = wrong.chars().take(LONGEST_ERROR).collect();
                    table.invalid.insert(shown, wrong);
                    last.flags.get(key.as_str()).cloned()
                }
            };
            if let Some(flag) = flag {
                table.flags.insert(key.into_boxed_str(), flag);
            }
        }
        table
    }

    pub fn get(&self, key: &str) -> Option<&Flag> {
        self.flags.get(key).map(Arc::as_ref)
    }
}
