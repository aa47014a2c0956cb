//! Migrations of SQLite.

use tempfile::TempDir;

use crate::common::{folder, migrate, versions, write};

struct File {
    _place: TempDir,
    url: String,
}

fn database() -> File {
    let place = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", place.path().join("db").display());
    File { _place: place, url }
}

#[test]
fn up_and_down_and_up_again() {
    let database = database();
    let folder = folder(&[
        (
            "0001_a",
            "-- safe: yes\n\nCREATE TABLE a (id integer PRIMARY KEY);",
        ),
        (
            "0002_seen",
            "-- safe: yes\n\nCREATE TABLE seen (id integer);
             CREATE TRIGGER see AFTER INSERT ON a BEGIN
                 INSERT INTO seen VALUES (new.id);
                 INSERT INTO seen VALUES (CASE WHEN new.id > 1 THEN 1 ELSE 0 END);
             END;
             INSERT INTO a VALUES (1);",
        ),
    ]);
    write(
        &folder,
        "0002_seen.down.sql",
        "DROP TRIGGER see; DROP TABLE seen; DELETE FROM a WHERE id = 1;",
    );
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);

    let tried = run(&["plan", "--execute", "--json"]).json();
    assert_eq!(versions(&tried, "tried"), [1, 2]);
    assert_eq!(
        versions(&run(&["plan", "--json"]).json(), "pending"),
        [1, 2]
    );
    assert_eq!(
        versions(&run(&["apply", "--json"]).json(), "applied"),
        [1, 2]
    );
    assert_eq!(
        versions(&run(&["apply", "--json"]).json(), "applied"),
        [0_i64; 0]
    );
    run(&["down", "--to", "0", "--yes"]).refused(&["0001_a"]);
    assert_eq!(
        versions(
            &run(&["down", "--to", "1", "--yes", "--json"]).json(),
            "undone"
        ),
        [2]
    );
    assert_eq!(versions(&run(&["apply", "--json"]).json(), "applied"), [2]);
    let status = run(&["status"]);
    status.succeeded();
    assert!(
        status.stdout.contains("0002  applied   expand    seen  20"),
        "{}",
        status.stdout
    );
}

#[test]
fn a_table_is_rebuilt_under_its_foreign_keys_and_a_broken_one_is_seen() {
    let database = database();
    let folder = folder(&[
        (
            "0001_users",
            "-- safe: yes\n\nCREATE TABLE users (id integer PRIMARY KEY);
             CREATE TABLE orders (user integer NOT NULL REFERENCES users (id) ON DELETE CASCADE);
             INSERT INTO users VALUES (1); INSERT INTO orders VALUES (1);",
        ),
        (
            "0002_rebuild",
            "-- safe: yes\n\nCREATE TABLE new_users (id integer PRIMARY KEY, name text);
             INSERT INTO new_users (id) SELECT id FROM users;
             DROP TABLE users;
             ALTER TABLE new_users RENAME TO users;",
        ),
    ]);
    migrate(&database.url, &folder, &["apply"]).succeeded();
    write(
        &folder,
        "0003_broken.up.sql",
        "-- safe: yes\n\nDELETE FROM users;",
    );
    migrate(&database.url, &folder, &["apply"])
        .refused(&["breaks foreign keys", "orders -> users"]);
    // The cascade would have deleted the order with the old table.
    write(
        &folder,
        "0003_broken.up.sql",
        "-- safe: yes\n\nINSERT INTO orders SELECT user FROM orders;",
    );
    write(
        &folder,
        "0004_count.up.sql",
        "-- safe: yes\n\nCREATE TABLE two (count integer CHECK (count = 2)); INSERT INTO two SELECT count(*) FROM orders;",
    );
    migrate(&database.url, &folder, &["apply"]).succeeded();
}

#[test]
fn an_error_names_its_line_and_leaves_nothing_behind() {
    let database = database();
    let folder = folder(&[
        ("0001_a", "-- safe: yes\n\nCREATE TABLE a (id integer);"),
        (
            "0002_b",
            "-- safe: yes\n\nCREATE TABLE b (id integer);\nINSERT INTO missing VALUES (1);",
        ),
    ]);
    migrate(&database.url, &folder, &["apply"]).refused(&["0002_b.up.sql:4", "missing"]);
    write(
        &folder,
        "0002_b.up.sql",
        "-- safe: yes\n\nCREATE TABLE b (id integer);",
    );
    assert_eq!(
        versions(
            &migrate(&database.url, &folder, &["apply", "--json"]).json(),
            "applied"
        ),
        [2]
    );

    write(
        &folder,
        "0003_vacuum.up.sql",
        "-- safe: yes\n-- transaction: no\n\nVACUUM;",
    );
    migrate(&database.url, &folder, &["apply"]).refused(&["0003_vacuum.up.sql", "SQLite"]);
}
