//! Starts on schemas that are behind and ahead of the program, as they are during a rollout and after a rollback.

use std::{fs, path::Path};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    api,
    postgres::Database,
    service::{Service, command, refused},
};

/// The migrations of a program: those in this one, and more.
struct Files {
    folder: TempDir,
    newest: u32,
}

impl Files {
    /// Copies the files of a store, but those above a number.
    fn copy(store: &str, up_to: u32) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(store);
        let mut files = Self {
            folder: tempfile::tempdir().expect("a folder"),
            newest: 0,
        };
        for entry in fs::read_dir(source).expect("migrations") {
            let path = entry.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("a name");
            let number: u32 = name[..4].parse().expect("a number");
            if number <= up_to {
                fs::copy(&path, files.folder.path().join(name)).expect("a copy");
                files.newest = files.newest.max(number);
            }
        }
        files
    }

    /// Adds the migration of a newer program; returns its name.
    fn add(&mut self, name: &str, text: &str) -> String {
        self.newest += 1;
        let name = format!("{:04}_{name}", self.newest);
        let file = self.folder.path().join(format!("{name}.up.sql"));
        fs::write(file, text).expect("a file");
        name
    }

    fn apply(&self, url: &str) {
        let applied = command(&[("DATABASE_URL", url)])
            .args(["migrate", "apply", "--dir"])
            .arg(self.folder.path())
            .output()
            .expect("it runs");
        assert!(applied.status.success(), "{applied:?}");
    }
}

/// Asserts that the program does not start on this schema, and that it says why.
fn is_refused(url: &str, how: &str, names: &str) {
    let (code, output) = refused(&[
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("ADMIN_PORT", "off"),
        ("DATABASE_URL", url),
        ("MIGRATE", how),
    ]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("does not fit"), "{output}");
    assert!(output.contains(names), "{names} in {output}");
    assert!(!output.contains("\"phase\":\"ready\""), "{output}");
    assert!(!output.contains("goodbye"), "{output}");
}

/// Asserts that the program starts on this schema, and works.
fn is_served(url: &str, email: &str) -> Service {
    let service = Service::start_ready(&[("DATABASE_URL", url), ("MIGRATE", "check")]);
    api::user(service.address, email);
    service
}

fn a_program_starts_behind_an_expand_and_not_behind_a_contract(store: &str, url: &str) {
    let all = Files::copy(store, u32::MAX);
    let before = Files::copy(store, all.newest - 1);
    is_refused(url, "check", "0001_users");
    before.apply(url);
    is_refused(url, "check", &format!("{:04}_", all.newest));

    let mut files = all;
    files.apply(url);
    let service = is_served(url, "ada@example.com");
    service.signal(Signal::INT);
    assert!(service.ended().status.success());

    let expand = "-- safe: yes a new table\n-- phase: expand\n\nCREATE TABLE later (id bigint);";
    let expand = files.add("later", expand);
    files.apply(url);
    let service = is_served(url, "grace@example.com");
    service.signal(Signal::INT);
    let ended = service.ended();
    let ahead = ended.logged("message", "the schema is ahead of this version");
    let ahead = ahead.expect("a warning").to_string();
    assert!(ahead.contains(&expand), "{expand} in {ahead}");

    let contract = "-- safe: yes no program reads it\n-- phase: contract\n-- after: 0.0.0\n\nDROP TABLE later;";
    let contract = files.add("no_more", contract);
    files.apply(url);
    for how in ["check", "apply"] {
        is_refused(url, how, &contract);
    }
}

#[test]
fn on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!(
        "sqlite://{}?mode=rwc",
        folder.path().join("orders.db").display()
    );
    a_program_starts_behind_an_expand_and_not_behind_a_contract("sqlite", &url);
}

#[test]
fn on_postgres() {
    let database = Database::create();
    a_program_starts_behind_an_expand_and_not_behind_a_contract("postgres", &database.url);
}
