//! Many processes that migrate at once, as when a fleet is deployed.

use std::process::Child;

use crate::{
    common::{Ran, TEN, command, folder, versions},
    support::postgres::Database,
};

/// The processes of a round.
const PROCESSES: usize = 8;

/// The rounds; `MIGRATE_ROUNDS=20` is the long form.
fn rounds() -> usize {
    let rounds = std::env::var("MIGRATE_ROUNDS").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("a number"))
}

fn at_once(url: &str, folder: &tempfile::TempDir) -> Vec<i64> {
    let start = |_| -> Child {
        let mut command = command(url, folder.path(), &["apply", "--json"]);
        command.spawn().expect("the program starts")
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    let mut applied = Vec::new();
    for child in children {
        let ran = Ran::from(child.wait_with_output().expect("an end"));
        applied.extend(versions(&ran.json(), "applied"));
    }
    applied.sort_unstable();
    applied
}

#[test]
fn each_is_applied_once_and_none_fails() {
    let folder = folder(&TEN);
    for round in 0..rounds() {
        let database = Database::create();
        let applied = at_once(&database.url, &folder);
        assert_eq!(applied, Vec::from_iter(1..=10), "round {round}");
        let count =
            "SELECT count(*), count(*) FILTER (WHERE state = 'applied') FROM schema_migrations";
        assert_eq!(database.ask(count), "10|10");
        assert_eq!(database.ask("SELECT count(*) FROM parts"), "3");
        assert_eq!(
            database.ask("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
            "0"
        );
        assert!(!database.log().contains("deadlock"), "{}", database.log());
    }
}

#[test]
fn sqlite_too() {
    let folder = folder(&[
        (
            "0001_items",
            "-- safe: yes\n\nCREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL);",
        ),
        (
            "0002_first",
            "-- safe: yes\n\nINSERT INTO items (name) VALUES ('a'); INSERT INTO items (name) VALUES ('b');",
        ),
        (
            "0003_price",
            "-- safe: yes\n\nALTER TABLE items ADD COLUMN price integer;",
        ),
        (
            "0004_index",
            "-- safe: yes\n\nCREATE INDEX items_name ON items (name);",
        ),
        (
            "0005_more",
            "-- safe: yes\n\nINSERT INTO items (name) VALUES ('c');",
        ),
    ]);
    for round in 0..rounds() {
        let place = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", place.path().join("db").display());
        assert_eq!(at_once(&url, &folder), [1, 2, 3, 4, 5], "round {round}");
    }
}
