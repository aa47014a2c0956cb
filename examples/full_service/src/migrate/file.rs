//! The files: their names, their directives, and everything that can be refused before the database is asked.

use std::{collections::BTreeMap, fmt, path::Path};

use sha2::{Digest, Sha256};

use super::{directives::Directives, sql::Statement};

/// The file whose presence forbids gaps between the numbers.
const STRICT: &str = "STRICT";

/// The migrations of one database, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Migrations {
    list: Vec<Migration>,
}

/// A numbered change of the schema, and the way back if there is one.
#[derive(Debug, Clone)]
pub struct Migration {
    pub version: i64,
    pub name: String,
    /// Why it needs downtime; `None` for one that is safe while the service runs.
    pub downtime: Option<String>,
    pub phase: Phase,
    /// The version of the service that must be deployed everywhere first.
    pub after: Option<Release>,
    /// SHA-256 of the up file in hexadecimal; line ends count as `\n`.
    pub checksum: String,
    pub up: Script,
    pub down: Option<Script>,
}

/// Statements that are run together.
#[derive(Debug, Clone)]
pub struct Script {
    pub file: String,
    pub statements: Vec<Statement>,
    /// Whether they run in a transaction; without one there is exactly one statement.
    pub transaction: bool,
}

/// A migration's place in a change that old and new code live through side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Old code runs on after it.
    Expand,
    /// Code before `after` breaks.
    Contract,
}

/// A version of the service like `1.4.0`, ordered by its numbers; what follows `-` or `+` does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(Vec<u64>);

/// Everything that is wrong with the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

/// A name like `0004_orders_by_user.up.sql`, in its parts.
struct Name<'a> {
    version: i64,
    name: &'a str,
    up: bool,
}

// === impl Migrations ===

impl Migrations {
    /// Reads migrations that are compiled into the program, as pairs of file name and text.
    ///
    /// # Errors
    ///
    /// Returns everything that is wrong with them.
    pub fn embedded(files: &[(&str, &str)]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut ups: BTreeMap<i64, Migration> = BTreeMap::new();
        let mut downs: Vec<(i64, String, Script)> = Vec::new();

        for &(file, text) in files.iter().filter(|(file, _)| *file != STRICT) {
            let Some(name) = Name::parse(file) else {
                problems.push(format!(
                    "{file}: the name is not NNNN_name.up.sql or NNNN_name.down.sql \
                     (4 to 18 digits; a-z, 0-9 and _)"
                ));
                continue;
            };
            let mut complain = |text: String| problems.push(format!("{file}: {text}"));
            let directives = Directives::read(text, &mut complain);
            let script = directives.script(file, text, &mut complain);
            if !name.up {
                downs.push((name.version, name.name.to_owned(), script));
                continue;
            }
            let migration = Migration {
                version: name.version,
                name: name.name.to_owned(),
                downtime: directives.downtime(&mut complain),
                phase: directives.phase(&mut complain),
                after: directives.after(&mut complain),
                checksum: checksum(text),
                up: script,
                down: None,
            };
            if let Some(other) = ups.insert(name.version, migration) {
                complain(format!("has the same number as {}", other.up.file));
            }
        }
        for (version, name, script) in downs {
            match ups.get_mut(&version) {
                Some(up) if up.name == name => up.down = Some(script),
                _ => problems.push(format!("{}: there is no up file to it", script.file)),
            }
        }
        if files.iter().any(|(file, _)| *file == STRICT) {
            for (one, next) in ups.keys().zip(ups.keys().skip(1)) {
                if *next != one + 1 {
                    problems.push(format!(
                        "a gap between {one:04} and {next:04}, and the folder is {STRICT}"
                    ));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(Self {
                list: ups.into_values().collect(),
            }),
            false => Err(Problems(problems)),
        }
    }

    /// Reads the migrations of a folder; files that do not end in `.sql` are left alone.
    ///
    /// # Errors
    ///
    /// Returns everything that is wrong with them, or with reading them.
    pub fn read(folder: &Path) -> Result<Self, Problems> {
        let wrong = |path: &Path, error: std::io::Error| {
            Problems(vec![format!("{}: {error}", path.display())])
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
            let path = entry.map_err(|error| wrong(folder, error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name == STRICT || name.ends_with(".sql") {
                let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
                files.push((name.to_owned(), text));
            }
        }
        files.sort();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        Self::embedded(&files)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Migration> {
        self.list.iter()
    }

    pub fn get(&self, version: i64) -> Option<&Migration> {
        self.list
            .binary_search_by_key(&version, |migration| migration.version)
            .ok()
            .and_then(|at| self.list.get(at))
    }

    /// Returns the highest number; 0 without any.
    pub fn newest(&self) -> i64 {
        self.list.last().map_or(0, |migration| migration.version)
    }
}

// === impl Migration ===

impl Migration {
    /// Returns its number and name as its files have them: `0004_orders_by_user`.
    pub fn label(&self) -> String {
        label(self.version, &self.name)
    }
}

pub fn label(version: i64, name: &str) -> String {
    format!("{version:04}_{name}")
}

// === impl Name ===

impl<'a> Name<'a> {
    fn parse(file: &'a str) -> Option<Self> {
        let stem = file.strip_suffix(".sql")?;
        let (stem, up) = match stem.strip_suffix(".up") {
            Some(stem) => (stem, true),
            None => (stem.strip_suffix(".down")?, false),
        };
        let (number, name) = stem.split_once('_')?;
        let digits = (4..=18).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        (digits && is_name(name)).then_some(())?;
        let version = number.parse().ok()?;
        Some(Self { version, name, up })
    }
}

/// Returns whether a text can be the name of a migration.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}

/// Returns the SHA-256 of a text, the same for a checkout with `\r\n`.
fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.replace("\r\n", "\n").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl Release ===

impl Release {
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let numbers: Option<Vec<u64>> = numbers.split('.').map(|part| part.parse().ok()).collect();
        let mut numbers = numbers?;
        // 1.4 is 1.4.0.
        numbers.resize(numbers.len().max(3), 0);
        Some(Self(numbers))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

// === impl Phase ===

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        }
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 thing is wrong with the migrations")?,
            count => writeln!(f, "{count} things are wrong with the migrations")?,
        }
        self.0.iter().try_for_each(|text| writeln!(f, "  {text}"))
    }
}

impl std::error::Error for Problems {}
