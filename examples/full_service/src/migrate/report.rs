//! The answer of each command: the same fields for a person and for a program.

use std::fmt;

use serde::Serialize;

use super::{
    file::Migration,
    plan::{Entry, State},
    repair::Mended,
    run::{Done, Tried},
};

/// The answer of a command; as JSON an object with the name of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Migrations(Vec<Line>),
    Pending(Vec<Planned>),
    Tried(Vec<Run>),
    Applied(Vec<Run>),
    Undone(Vec<Run>),
    Repaired(Vec<Repaired>),
    Created(Vec<String>),
    Error(String),
}

/// A line of `status`.
#[derive(Debug, Serialize)]
pub struct Line {
    version: i64,
    name: String,
    state: &'static str,
    phase: &'static str,
    /// The checksum in the table; of a pending one, that of its file.
    checksum: String,
    applied_at: Option<String>,
    applied_by: Option<String>,
    took_ms: Option<i64>,
}

/// A line of `plan`.
#[derive(Debug, Serialize)]
pub struct Planned {
    version: i64,
    name: String,
    phase: &'static str,
    transaction: bool,
    statements: usize,
    downtime: Option<String>,
    after: Option<String>,
}

/// A line of `apply`, `down` and `plan --execute`.
#[derive(Debug, Serialize)]
pub struct Run {
    version: i64,
    name: String,
    /// `None` for one that was left out.
    took_ms: Option<u128>,
}

/// A line of `repair`.
#[derive(Debug, Serialize)]
pub struct Repaired {
    version: i64,
    name: String,
    state: &'static str,
    because: String,
}

// === impl Answer ===

impl Answer {
    /// Returns the answer for a program, on one line.
    pub fn json(&self) -> String {
        // Text and numbers always have a form in JSON.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Migrations(lines) => lines_or(f, lines, "there are no migrations"),
            Self::Pending(lines) => lines_or(f, lines, "nothing is pending"),
            Self::Tried(lines) => {
                lines_or(f, lines, "nothing is pending")?;
                match lines.is_empty() {
                    true => Ok(()),
                    false => writeln!(f, "tried, and rolled back"),
                }
            }
            Self::Applied(lines) => lines_or(f, lines, "nothing was pending"),
            Self::Undone(lines) => lines_or(f, lines, "nothing is applied above it"),
            Self::Repaired(lines) => lines_or(f, lines, "nothing is to be repaired"),
            Self::Created(paths) => {
                paths.iter().try_for_each(|path| writeln!(f, "{path}"))?;
                writeln!(f, "add their names to src/migrations.rs, which embeds them")
            }
            // The log has it, on standard error.
            Self::Error(_) => Ok(()),
        }
    }
}

fn lines_or<T: fmt::Display>(f: &mut fmt::Formatter<'_>, lines: &[T], empty: &str) -> fmt::Result {
    match lines.is_empty() {
        true => writeln!(f, "{empty}"),
        false => lines.iter().try_for_each(|line| writeln!(f, "{line}")),
    }
}

// === impl Line ===

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let Entry {
            version,
            name,
            phase,
            state,
            row,
            checksum,
            ..
        } = entry;
        let applied = row.as_ref().filter(|row| row.applied);
        Self {
            version,
            name,
            state: state.as_str(),
            phase: phase.as_str(),
            applied_at: applied.map(|row| row.applied_at.clone()),
            applied_by: row.as_ref().map(|row| row.applied_by.clone()),
            took_ms: applied.map(|row| row.took_ms),
            checksum: match (row, state) {
                (Some(row), _) => row.checksum,
                (None, State::Pending) => checksum.unwrap_or_default(),
                (None, _) => String::new(),
            },
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            name,
            state,
            phase,
            ..
        } = self;
        write!(f, "{version:04}  {state:8}  {phase:8}  {name}")?;
        if let (Some(at), Some(by), Some(took)) = (&self.applied_at, &self.applied_by, self.took_ms)
        {
            write!(f, "  {at} by {by} in {took} ms")?;
        }
        Ok(())
    }
}

// === impl Planned ===

impl From<Migration> for Planned {
    fn from(migration: Migration) -> Self {
        Self {
            version: migration.version,
            name: migration.name,
            phase: migration.phase.as_str(),
            transaction: migration.up.transaction,
            statements: migration.up.statements.len(),
            downtime: migration.downtime,
            after: migration.after.map(|after| after.to_string()),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            name,
            phase,
            statements,
            ..
        } = self;
        write!(f, "{version:04}  {phase:8}  {name}  {statements} statement")?;
        if *statements != 1 {
            f.write_str("s")?;
        }
        if !self.transaction {
            f.write_str(", without a transaction")?;
        }
        if let Some(reason) = &self.downtime {
            write!(f, ", needs downtime: {reason}")?;
        }
        if let Some(after) = &self.after {
            write!(f, ", after {after}")?;
        }
        Ok(())
    }
}

// === impl Run ===

impl From<Done> for Run {
    fn from(done: Done) -> Self {
        Self {
            version: done.version,
            name: done.name,
            took_ms: Some(done.took.as_millis()),
        }
    }
}

impl From<Tried> for Run {
    fn from(tried: Tried) -> Self {
        Self {
            version: tried.version,
            name: tried.name,
            took_ms: tried.took.map(|took| took.as_millis()),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, name, .. } = self;
        write!(f, "{version:04}  {name}  ")?;
        match self.took_ms {
            Some(took) => write!(f, "{took} ms"),
            None => f.write_str("left out: it has no transaction"),
        }
    }
}

// === impl Repaired ===

impl From<Mended> for Repaired {
    fn from(mended: Mended) -> Self {
        Self {
            version: mended.version,
            name: mended.name,
            state: if mended.applied { "applied" } else { "pending" },
            because: mended.because,
        }
    }
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            name,
            state,
            because,
        } = self;
        write!(f, "{version:04}  {state:8}  {name}  {because}")
    }
}
