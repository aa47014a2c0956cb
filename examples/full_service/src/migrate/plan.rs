//! The comparison of the files with the table: no database here.

use super::{
    Options, Schema,
    error::{Difference, MigrateError},
    file::{Migration, Migrations, Phase, label},
    session::Row,
};

/// A migration of the files, of the table, or of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub version: i64,
    pub name: String,
    pub phase: Phase,
    pub state: State,
    /// Why it needs downtime, as its file says.
    pub downtime: Option<String>,
    /// The row of the table.
    pub row: Option<Row>,
    /// The checksum of the file.
    pub checksum: Option<String>,
}

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Applied,
    Pending,
    /// It has no transaction, and did not finish, or is at work.
    Failed,
    /// It is applied, and its file is not what it was.
    Changed,
    /// It is applied, and its file is gone.
    Vanished,
    /// It is applied, and above all files: of a newer program.
    Newer,
}

/// Returns every migration, in the order of their numbers.
pub fn compare(migrations: &Migrations, rows: &[Row]) -> Vec<Entry> {
    let known = migrations.iter().map(|migration| {
        let row = rows.iter().find(|row| row.version == migration.version);
        let state = match row {
            None => State::Pending,
            Some(row) if !row.applied => State::Failed,
            Some(row) if row.checksum != migration.checksum || row.name != migration.name => {
                State::Changed
            }
            Some(_) => State::Applied,
        };
        Entry {
            version: migration.version,
            name: migration.name.clone(),
            phase: migration.phase,
            state,
            downtime: migration.downtime.clone(),
            row: row.cloned(),
            checksum: Some(migration.checksum.clone()),
        }
    });
    let unknown = rows
        .iter()
        .filter(|row| migrations.get(row.version).is_none());
    let unknown = unknown.map(|row| Entry {
        version: row.version,
        name: row.name.clone(),
        phase: row.phase,
        state: match row.version > migrations.newest() {
            true => State::Newer,
            false => State::Vanished,
        },
        downtime: None,
        row: Some(row.clone()),
        checksum: None,
    });
    let mut entries: Vec<_> = known.chain(unknown).collect();
    entries.sort_by_key(|entry| entry.version);
    entries
}

/// Returns what is to be applied, in order.
///
/// # Errors
///
/// Returns an error if something of it is refused: nothing is begun that cannot be ended.
pub fn pending<'a>(
    migrations: &'a Migrations,
    rows: &[Row],
    options: &Options,
) -> Result<Vec<&'a Migration>, MigrateError> {
    let entries = compare(migrations, rows);
    intact(&entries)?;
    refuse_newer(migrations, &entries)?;

    let newest = rows.iter().map(|row| row.version).max().unwrap_or(0);
    let mut pending: Vec<_> = migrations
        .iter()
        .filter(|migration| rows.iter().all(|row| row.version != migration.version))
        .collect();
    if options.expand_only {
        let expands = pending
            .iter()
            .take_while(|migration| migration.phase == Phase::Expand)
            .count();
        pending.truncate(expands);
    }
    let late = pending
        .iter()
        .filter(|migration| migration.version < newest);
    let late: Vec<_> = late.map(|migration| migration.label()).collect();
    if !options.out_of_order && !late.is_empty() {
        let newest = entries.iter().find(|entry| entry.version == newest);
        return Err(MigrateError::OutOfOrder {
            pending: late,
            newest: newest.map(Entry::label).unwrap_or_default(),
        });
    }
    let downtime = pending.iter().filter_map(|migration| {
        let reason = migration.downtime.clone()?;
        Some((migration.label(), reason))
    });
    let downtime: Vec<_> = downtime.collect();
    if !options.allow_downtime && !downtime.is_empty() {
        return Err(MigrateError::Unsafe(downtime));
    }
    Ok(pending)
}

/// Returns what is to be undone to get to a version, the newest first.
///
/// # Errors
///
/// Returns an error if one of them cannot be undone.
pub fn undone<'a>(
    migrations: &'a Migrations,
    rows: &[Row],
    to: i64,
) -> Result<Vec<&'a Migration>, MigrateError> {
    let entries = compare(migrations, rows);
    intact(&entries)?;
    let above = entries
        .iter()
        .filter(|entry| entry.version > to && entry.row.is_some());
    let mut undone = Vec::new();
    let mut stuck = Vec::new();
    for entry in above.rev() {
        match migrations.get(entry.version) {
            Some(migration) if migration.down.is_some() => undone.push(migration),
            _ => stuck.push(entry.label()),
        }
    }
    match stuck.is_empty() {
        true => Ok(undone),
        false => Err(MigrateError::NoDown(stuck)),
    }
}

/// Compares with what this program needs.
pub fn check(migrations: &Migrations, rows: &[Row]) -> Result<Schema, MigrateError> {
    let entries = compare(migrations, rows);
    refuse_newer(migrations, &entries)?;
    let labels = |wanted: &dyn Fn(&Entry) -> bool| -> Vec<String> {
        let found = entries.iter().filter(|entry| wanted(entry));
        found.map(Entry::label).collect()
    };
    // A changed comment is no reason not to start: `apply` refuses it, and that is early enough.
    let missing = |entry: &Entry| {
        entry.checksum.is_some() && matches!(entry.state, State::Pending | State::Failed)
    };
    let newest = rows
        .iter()
        .filter(|row| row.applied)
        .map(|row| row.version)
        .max()
        .unwrap_or(0);

    let needed = labels(&|entry| missing(entry) && entry.phase == Phase::Expand);
    match needed.is_empty() {
        true => Ok(Schema {
            newest,
            newer: labels(&|entry| entry.state == State::Newer),
            contracts: labels(&|entry| missing(entry) && entry.phase == Phase::Contract),
        }),
        false => Err(MigrateError::Older {
            newest,
            missing: needed,
        }),
    }
}

/// Refuses rows that did not finish, and files that are not what was applied.
fn intact(entries: &[Entry]) -> Result<(), MigrateError> {
    let unfinished = entries
        .iter()
        .filter(|entry| entry.row.as_ref().is_some_and(|row| !row.applied));
    let unfinished: Vec<_> = unfinished.map(Entry::label).collect();
    if !unfinished.is_empty() {
        return Err(MigrateError::Unfinished(unfinished));
    }
    let differences = entries.iter().filter_map(|entry| {
        let row = entry.row.as_ref()?;
        let differs = matches!(entry.state, State::Changed | State::Vanished);
        differs.then(|| Difference {
            // The table's name, which the file may no longer have.
            label: label(row.version, &row.name),
            applied: row.checksum.clone(),
            file: entry.checksum.clone(),
        })
    });
    let differences: Vec<_> = differences.collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(MigrateError::Changed(differences)),
    }
}

/// Refuses contracts of a newer program, behind which this one breaks.
fn refuse_newer(migrations: &Migrations, entries: &[Entry]) -> Result<(), MigrateError> {
    let newer = entries
        .iter()
        .filter(|entry| entry.state == State::Newer && entry.phase == Phase::Contract);
    let newer: Vec<_> = newer.map(Entry::label).collect();
    match newer.is_empty() {
        true => Ok(()),
        false => Err(MigrateError::Newer {
            known: migrations.newest(),
            newer,
        }),
    }
}

// === impl Entry ===

impl Entry {
    /// Returns its number and name: `0004_orders_by_user`.
    pub fn label(&self) -> String {
        label(self.version, &self.name)
    }
}

// === impl State ===

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Changed => "changed",
            Self::Vanished => "vanished",
            Self::Newer => "newer",
        }
    }
}
