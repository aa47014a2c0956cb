//! What needs a word of the operator, and what each word does.

use crate::{
    common::{folder, migrate, versions, write},
    support::postgres::Database,
};

const ITEMS: (&str, &str) = (
    "0001_items",
    "-- safe: yes\n\nCREATE TABLE items (id int, name text);",
);

#[test]
fn downtime_contracts_and_late_ones_need_a_word() {
    let database = Database::create();
    let folder = folder(&[
        ITEMS,
        (
            "0002_instances",
            "-- safe: yes\n\nCREATE TABLE instances (version text, seen_at timestamptz);",
        ),
    ]);
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);
    run(&["apply"]).succeeded();

    write(
        &folder,
        "0003_slow.up.sql",
        "-- safe: no it locks the table\n\nALTER TABLE items ADD COLUMN a int;",
    );
    run(&["apply"]).refused(&["0003_slow: it locks the table", "--allow-downtime"]);
    assert!(
        run(&["plan"])
            .stdout
            .contains("needs downtime: it locks the table")
    );
    run(&["apply", "--allow-downtime"]).succeeded();

    write(
        &folder,
        "0005_contract.up.sql",
        "-- safe: yes\n-- phase: contract\n-- after: 2.0.0\n\nALTER TABLE items DROP COLUMN name;",
    );
    let alive = "INSERT INTO instances VALUES ('1.9.0', now()), ('2.0.0', now()), ('1.0.0', now() - interval '1 min')";
    database.ask(alive);
    run(&["apply"]).refused(&[
        "0005_contract",
        "1 of version 1.9.0",
        "2.0.0",
        "--expand-only",
    ]);
    assert_eq!(
        run(&["apply", "--expand-only"]).stdout,
        "nothing was pending\n"
    );
    database.ask("DELETE FROM instances WHERE version = '1.9.0'");
    run(&["apply"]).succeeded();

    write(
        &folder,
        "0004_late.up.sql",
        "-- safe: yes\n\nALTER TABLE items ADD COLUMN b int;",
    );
    run(&["apply"]).refused(&["0004_late", "0005_contract", "--out-of-order"]);
    run(&["apply", "--out-of-order"]).succeeded();
}

#[test]
fn a_changed_file_is_refused_until_it_is_taken_over() {
    let database = Database::create();
    let folder = folder(&[ITEMS]);
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);
    run(&["apply"]).succeeded();
    let before = database.ask("SELECT checksum FROM schema_migrations");
    write(
        &folder,
        "0001_items.up.sql",
        &format!("{} -- a comment", ITEMS.1),
    );
    run(&["apply"]).refused(&["0001_items", &before, "--as applied"]);
    assert_eq!(
        run(&["status", "--json"]).json()["migrations"][0]["state"],
        "changed"
    );
    run(&["repair", "1", "--as", "applied"]).succeeded();
    run(&["apply"]).succeeded();
    run(&["repair", "1", "--as", "pending"]).refused(&["0001"]);
}

#[test]
fn down_goes_to_a_version_and_says_what_it_needs() {
    let database = Database::create();
    let folder = folder(&[
        ITEMS,
        (
            "0002_index",
            "-- safe: yes\n-- transaction: no\n\nCREATE INDEX CONCURRENTLY by_id ON items (id);",
        ),
        (
            "0003_more",
            "-- safe: yes\n\nALTER TABLE items ADD COLUMN more int;",
        ),
    ]);
    write(
        &folder,
        "0002_index.down.sql",
        "-- transaction: no\n\nDROP INDEX CONCURRENTLY by_id;",
    );
    write(
        &folder,
        "0003_more.down.sql",
        "ALTER TABLE items DROP COLUMN more;",
    );
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);
    run(&["apply"]).succeeded();
    run(&["down", "--to", "1"]).ended(2, &["--yes"]);
    run(&["down", "--to", "0", "--yes"]).refused(&["no way down past 0001_items"]);
    assert_eq!(database.ask("SELECT count(*) FROM schema_migrations"), "3");
    assert_eq!(
        versions(
            &run(&["down", "--to", "1", "--yes", "--json"]).json(),
            "undone"
        ),
        [3, 2]
    );
    assert_eq!(database.ask("SELECT to_regclass('by_id')"), "");
    assert_eq!(
        versions(&run(&["apply", "--json"]).json(), "applied"),
        [2, 3]
    );
}

#[test]
fn wrong_arguments_and_files_exit_with_2_and_a_missing_database_with_1() {
    let folder = folder(&[("0001_a", "SELECT 1;"), ("0002_b", "")]);
    let url = "postgres://127.0.0.1:1/none";
    let run = |arguments: &[&str]| migrate(url, &folder, arguments);
    run(&["apply"]).ended(
        2,
        &[
            "0001_a.up.sql: needs `-- safe",
            "0002_b.up.sql: has no statement",
        ],
    );
    for (arguments, wrong) in [
        (&[][..], "which command"),
        (&["upply"], "no command"),
        (&["apply", "--fast"], "no option --fast"),
        (&["apply", "--lock-wait", "5"], "does not fit"),
        (&["apply", "--yes"], "--yes is not for apply"),
        (&["down", "--yes"], "--to N"),
        (&["repair", "1"], "--as applied"),
    ] {
        run(arguments).ended(2, &[wrong, "usage:"]);
    }
    write(&folder, "0001_a.up.sql", "-- safe: yes\n\nSELECT 1;");
    write(&folder, "0002_b.up.sql", "-- safe: yes\n\nSELECT 1;");
    run(&["apply"]).refused(&["the database"]);

    let created = run(&["new", "third"]);
    created.succeeded();
    let file = folder.path().join("0003_third.up.sql");
    assert!(
        std::fs::read_to_string(file)
            .expect("a file")
            .starts_with("-- safe: yes\n")
    );
    run(&["new", "Third"]).ended(2, &["is not a name"]);
}
