//! Migrations of PostgreSQL: what is applied, what is refused, and what an operator reads.

use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};

use crate::{
    common::{TEN, command, folder, migrate, versions, write},
    support::{postgres::Database, wait_for},
};

const ITEMS: (&str, &str) = (
    "0001_items",
    "-- safe: yes\n\nCREATE TABLE items (id int, name text);",
);

/// A session that holds a lock on `items`.
struct Holder {
    runtime: tokio::runtime::Runtime,
    connection: PgConnection,
}

impl Holder {
    fn new(database: &Database) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let connection = runtime.block_on(async {
            let mut connection = PgConnection::connect(&database.url)
                .await
                .expect("a connection");
            let hold = "BEGIN; LOCK TABLE items IN ACCESS SHARE MODE";
            sqlx::raw_sql(hold)
                .execute(&mut connection)
                .await
                .expect("a lock");
            connection
        });
        Self {
            runtime,
            connection,
        }
    }

    fn release(mut self) {
        let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection);
        self.runtime.block_on(rollback).expect("the end of it");
    }
}

#[test]
fn a_dry_run_leaves_nothing_and_a_run_leaves_a_row_for_each() {
    let database = Database::create();
    let folder = folder(&TEN);
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);

    let tried = run(&["plan", "--execute", "--json"]).json();
    assert_eq!(versions(&tried, "tried"), Vec::from_iter(1..=10));
    assert!(tried["tried"][0]["took_ms"].is_u64(), "{tried}");
    assert!(tried["tried"][2]["took_ms"].is_null(), "{tried}");
    assert_eq!(
        database.ask("SELECT to_regclass('items'), to_regclass('schema_migrations')"),
        "|"
    );

    let plan = run(&["plan"]);
    plan.succeeded();
    assert!(
        plan.stdout
            .contains("0003  expand    items_by_name  1 statement, without a transaction"),
        "{}",
        plan.stdout
    );
    run(&["apply"]).succeeded();
    let row = "SELECT name, length(checksum), state, phase, took_ms >= 0, applied_by LIKE '%:%', applied_at <= now()
               FROM schema_migrations WHERE version = 3";
    assert_eq!(database.ask(row), "items_by_name|64|applied|expand|t|t|t");
    let status = run(&["status", "--json"]).json();
    assert_eq!(versions(&status, "migrations"), Vec::from_iter(1..=10));
    assert_eq!(status["migrations"][9]["state"], "applied");
    assert_eq!(run(&["apply"]).stdout, "nothing was pending\n");
}

#[test]
fn a_failed_statement_rolls_its_migration_back_and_no_other() {
    let database = Database::create();
    let folder = folder(&[
        ITEMS,
        (
            "0002_wrong",
            "-- safe: yes\n\nCREATE TABLE more (id int);\n\nINSERT INTO more VALUES ('x');",
        ),
    ]);
    let ran = migrate(&database.url, &folder, &["apply", "--json"]);
    ran.refused(&["0002_wrong.up.sql:5", "invalid input syntax", "rolled back"]);
    assert!(ran.stdout.starts_with(r#"{"error":""#), "{}", ran.stdout);
    assert_eq!(
        database.ask("SELECT to_regclass('more'), max(version) FROM schema_migrations"),
        "|1"
    );
}

#[test]
fn settings_of_a_migration_end_with_it() {
    let database = Database::create();
    let folder = folder(&[
        ITEMS,
        // As pg_dump writes it.
        (
            "0002_dump",
            "-- safe: yes\n\nSELECT pg_catalog.set_config('search_path', '', false); SET statement_timeout = 1;",
        ),
        (
            "0003_more",
            "-- safe: yes\n\nSELECT pg_sleep(0.05); ALTER TABLE items ADD COLUMN more int;",
        ),
    ]);
    migrate(&database.url, &folder, &["apply"]).succeeded();
}

#[test]
fn a_failed_index_is_repaired_as_the_answer_says() {
    let database = Database::create();
    let folder = folder(&[
        ITEMS,
        (
            "0002_twice",
            "-- safe: yes\n\nINSERT INTO items VALUES (1, 'a'), (1, 'b');",
        ),
        (
            "0003_unique",
            "-- safe: yes\n-- transaction: no\n\nCREATE UNIQUE INDEX CONCURRENTLY items_id ON items (id);",
        ),
    ]);
    let run = |arguments: &[&str]| migrate(&database.url, &folder, arguments);
    run(&["apply"]).refused(&[
        "0003_unique",
        "could not create unique index",
        "migrate repair",
    ]);
    run(&["apply"]).refused(&[
        "0003_unique did not finish",
        "migrate repair",
        "DROP INDEX CONCURRENTLY",
    ]);
    assert_eq!(
        run(&["status", "--json"]).json()["migrations"][2]["state"],
        "failed"
    );
    assert_eq!(
        database.ask("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        "1"
    );

    let repaired = run(&["repair"]);
    repaired.succeeded();
    assert!(
        repaired
            .stdout
            .contains("pending   unique  the index was invalid: DROP INDEX CONCURRENTLY items_id"),
        "{}",
        repaired.stdout
    );
    assert_eq!(
        database.ask("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        "0"
    );
    database.ask("DELETE FROM items WHERE name = 'b'");
    assert_eq!(versions(&run(&["apply", "--json"]).json(), "applied"), [3]);

    // A statement that leaves no trace in the schema is a person's to decide.
    write(
        &folder,
        "0004_vacuum.up.sql",
        "-- safe: yes\n-- transaction: no\n\nVACUUM missing;",
    );
    run(&["apply"]).refused(&["0004_vacuum", "migrate repair"]);
    run(&["repair"]).refused(&["0004_vacuum", "--as applied", "--as pending"]);
    run(&["repair", "4", "--as", "pending"]).succeeded();
}

#[test]
fn a_lock_that_is_not_had_in_time_is_asked_for_again() {
    let database = Database::create();
    let folder = folder(&[ITEMS]);
    migrate(&database.url, &folder, &["apply"]).succeeded();
    write(
        &folder,
        "0002_more.up.sql",
        "-- safe: yes\n\nALTER TABLE items ADD COLUMN more int;",
    );

    let holder = Holder::new(&database);
    let ran = migrate(
        &database.url,
        &folder,
        &["apply", "--lock-timeout", "100ms", "--tries", "2"],
    );
    ran.refused(&["0002_more.up.sql:3", "lock timeout", "trying again"]);
    // Nothing is left in the queue of the lock.
    assert_eq!(
        database.ask("SELECT count(*) FROM pg_locks WHERE NOT granted"),
        "0"
    );

    let mut child = command(
        &database.url,
        folder.path(),
        &["apply", "--lock-timeout", "100ms"],
    )
    .spawn()
    .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("a piped log")).lines();
    let tried = log.any(|line| line.expect("text").contains("trying again"));
    assert!(tried, "it gave up, or got the lock");
    holder.release();
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn one_that_waits_in_vain_names_the_holder_whose_statement_ends_with_it() {
    let database = Database::create();
    let folder = folder(&[("0001_long", "-- safe: yes\n\nSELECT pg_sleep(60);")]);
    let mut long = command(&database.url, folder.path(), &["apply"])
        .spawn()
        .expect("it starts");
    wait_for("the long one", || {
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        (database.ask(asleep) == "1").then_some(())
    });
    let ran = migrate(&database.url, &folder, &["apply", "--lock-wait", "300ms"]);
    ran.refused(&[
        "another process migrates",
        "pid ",
        "migrate ",
        &format!(":{}\"", long.id()),
    ]);
    // It reads without the lock.
    migrate(&database.url, &folder, &["status"]).succeeded();

    long.kill().expect("it was running");
    long.wait().expect("an end");
    let begun = Instant::now();
    write(&folder, "0001_long.up.sql", "-- safe: yes\n\nSELECT 1;");
    migrate(&database.url, &folder, &["apply"]).succeeded();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}
