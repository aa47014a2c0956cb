//! The command line, and folders of migrations to run it on.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The remains of a command.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Ten migrations, two of them without a transaction, as a service has them after a while.
pub const TEN: [(&str, &str); 10] = [
    (
        "0001_items",
        "-- safe: yes\n\nCREATE TABLE items (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 1000) n;",
    ),
    (
        "0002_price",
        "-- safe: yes\n\nALTER TABLE items ADD COLUMN price bigint;",
    ),
    (
        "0003_items_by_name",
        "-- safe: yes\n-- transaction: no\n\nCREATE INDEX CONCURRENTLY items_by_name ON items (name);",
    ),
    (
        "0004_parts",
        "-- safe: yes\n\nCREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items);",
    ),
    (
        "0005_first_parts",
        "-- safe: yes\n\nINSERT INTO parts VALUES (1, 1); INSERT INTO parts VALUES (2, 1);",
    ),
    (
        "0006_price_check",
        "-- safe: yes\n\nALTER TABLE items ADD CONSTRAINT price CHECK (price > 0) NOT VALID;",
    ),
    (
        "0007_parts_by_item",
        "-- safe: yes\n-- transaction: no\n\nCREATE UNIQUE INDEX CONCURRENTLY parts_by_item ON parts (item, id);",
    ),
    (
        "0008_view",
        "-- safe: yes\n\nCREATE VIEW cheap AS SELECT * FROM items WHERE price < 10;",
    ),
    (
        "0009_function",
        "-- safe: yes\n\nCREATE FUNCTION one() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;",
    ),
    (
        "0010_more",
        "-- safe: yes\n\nINSERT INTO parts VALUES (3, 2);",
    ),
];

/// Writes a folder of up files, by their names without the end.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        write(&folder, &format!("{name}.up.sql"), text);
    }
    folder
}

pub fn write(folder: &TempDir, file: &str, text: &str) {
    std::fs::write(folder.path().join(file), text).expect("a file");
}

/// Returns the command `migrate`, to be started.
pub fn command(url: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))));
    command
        .env_clear()
        .env("DATABASE_URL", url)
        .arg("migrate")
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `migrate` to its end.
pub fn migrate(url: &str, folder: &TempDir, arguments: &[&str]) -> Ran {
    let output = command(url, folder.path(), arguments).output();
    output.expect("the program starts").into()
}

// === impl Ran ===

impl Ran {
    /// Asserts a success, and returns the answer of a run with `--json`.
    pub fn json(&self) -> Value {
        self.succeeded();
        serde_json::from_str(&self.stdout).expect("JSON on standard output")
    }

    pub fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
    }

    /// Asserts an exit code of 1, and that the reason has all of these.
    pub fn refused(&self, parts: &[&str]) {
        self.ended(1, parts);
    }

    pub fn ended(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {}", self.stderr);
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// Returns the versions of an answer's list.
pub fn versions(answer: &Value, list: &str) -> Vec<i64> {
    let lines = answer[list].as_array().expect("a list");
    let versions = lines.iter().map(|line| line["version"].as_i64());
    versions.map(|version| version.expect("a number")).collect()
}
