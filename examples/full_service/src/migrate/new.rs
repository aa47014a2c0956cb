//! The files of a new migration.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::file::is_name;

const UP: &str = "\
-- safe: yes
-- phase: expand

-- The change, in a transaction of its own. The linter says what is not safe while the service runs.
";

const DOWN: &str = "\
-- safe: no <what is lost>

-- The way back; remove this file if there is none.
";

/// The folders of a service with both databases, or of one with a single database.
const FOLDERS: [&str; 2] = ["migrations/postgres", "migrations/sqlite"];

/// Writes the next migration's files into a folder; without one, into each of `migrations/postgres` and
/// `migrations/sqlite` that there is, else into `migrations`.
///
/// # Errors
///
/// Returns an error if the name does not fit, or a file cannot be written. An existing file stays as it is.
pub fn new(name: &str, folder: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    if !is_name(name) {
        let wrong = format!("{name:?} is not a name of a-z, 0-9 and _");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
    }
    let folders: Vec<PathBuf> = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => {
            let there = FOLDERS.iter().map(PathBuf::from);
            let there: Vec<_> = there.filter(|folder| folder.is_dir()).collect();
            match there.is_empty() {
                true => vec![PathBuf::from("migrations")],
                false => there,
            }
        }
    };
    // One number for all, so that a change has the same in each database.
    let mut newest = 0;
    for folder in &folders {
        for entry in std::fs::read_dir(folder)? {
            newest = newest.max(number(&entry?.file_name().to_string_lossy()));
        }
    }
    let number = newest + 1;
    let mut written = Vec::new();
    for folder in &folders {
        for (end, text) in [("up", UP), ("down", DOWN)] {
            let path = folder.join(format!("{number:04}_{name}.{end}.sql"));
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Returns the number of a file; 0 if it has none.
fn number(file: &str) -> u64 {
    let digits = file.split('_').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}
