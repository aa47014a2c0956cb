//! What is decided without a database: the cut of a file, its directives, and the comparison with the table.

use super::{
    Migrations, Options,
    error::MigrateError,
    file::{Phase, Release},
    plan::{self, State},
    session::Row,
    sql::{Concurrent, Statement, split},
};

const ONE: (&str, &str) = ("0001_a.up.sql", "-- safe: yes\n\nCREATE TABLE a (x int);");
const TWO: (&str, &str) = ("0002_b.up.sql", "-- safe: yes\n\nCREATE TABLE b (x int);");
const CONTRACT: (&str, &str) = (
    "0003_c.up.sql",
    "-- safe: yes\n-- phase: contract\n-- after: 2.0.0\n\nALTER TABLE a DROP COLUMN x;",
);

fn read(files: &[(&str, &str)]) -> Migrations {
    Migrations::embedded(files).expect("good files")
}

/// Returns the rows of a schema to which all of these were applied.
fn applied(migrations: &Migrations) -> Vec<Row> {
    let rows = migrations.iter().map(|migration| Row {
        version: migration.version,
        name: migration.name.clone(),
        checksum: migration.checksum.clone(),
        phase: migration.phase,
        applied: true,
        applied_at: String::new(),
        took_ms: 1,
        applied_by: "test".to_owned(),
    });
    rows.collect()
}

fn texts(sql: &str) -> Vec<String> {
    let statements = split(sql).expect("closed quotes");
    statements.into_iter().map(|one| one.text).collect()
}

fn one(sql: &str) -> Statement {
    let mut statements = split(sql).expect("closed quotes");
    assert_eq!(statements.len(), 1, "{statements:?}");
    statements.remove(0)
}

#[test]
fn statements_end_at_semicolons_that_count() {
    for (sql, count) in [
        ("", 0),
        ("-- only; a comment\n;;", 0),
        ("SELECT 1", 1),
        ("SELECT 1; -- one; two\nSELECT 2;", 2),
        ("SELECT ';' ; SELECT 'it''s;'", 2),
        (r"SELECT E'\';' ; SELECT 2", 2),
        (r#"SELECT 1 AS ";"; SELECT 2"#, 2),
        ("/* ; /* ; */ ; */ SELECT 1; SELECT 2", 2),
        ("SELECT $$;$$; SELECT $a$ $$;$a; $a$; SELECT 3", 3),
        ("SELECT $1; SELECT a$b$c; SELECT 3", 3),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x = CASE WHEN 1 THEN 2 END; SELECT 1; END; SELECT 2",
            2,
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            2,
        ),
        ("CREATE TABLE shifts (begin int); SELECT 2", 2),
        (
            "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f(); SELECT 2",
            2,
        ),
        ("SELECT 'ü;', \"ö;\"; SELECT 2", 2),
    ] {
        assert_eq!(texts(sql).len(), count, "{sql}: {:?}", texts(sql));
    }
    let statements = split("-- safe: yes\n\nSELECT 1;\n\n  SELECT\n 2;").expect("closed");
    let lines: Vec<_> = statements.iter().map(|one| one.line).collect();
    assert_eq!(lines, [3, 5]);
    for (sql, line) in [
        ("SELECT 1;\nSELECT 'x", 2),
        ("/* /* */", 1),
        ("\n\n$x$ $y$", 3),
    ] {
        assert_eq!(split(sql), Err(line), "{sql}");
    }
}

#[test]
fn an_index_is_known_by_its_statement() {
    let create = |index: Option<&str>, if_not_exists| {
        Some(Concurrent::Create {
            index: index.map(str::to_owned),
            if_not_exists,
        })
    };
    for (sql, index) in [
        ("CREATE INDEX a ON t (x)", None),
        (
            "create unique index concurrently A on t (x)",
            create(Some("a"), false),
        ),
        (
            r#"CREATE INDEX CONCURRENTLY "A b" ON ONLY s.t USING gin (x)"#,
            create(Some(r#"s."A b""#), false),
        ),
        (
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON t(x)",
            create(Some("a"), true),
        ),
        ("CREATE INDEX CONCURRENTLY ON t (x)", create(None, false)),
        (
            "DROP INDEX CONCURRENTLY IF EXISTS s.a CASCADE",
            Some(Concurrent::Drop {
                index: "s.a".to_owned(),
            }),
        ),
        (
            "REINDEX (VERBOSE) INDEX CONCURRENTLY a",
            Some(Concurrent::Reindex),
        ),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", None),
    ] {
        assert_eq!(one(sql).concurrent(), index, "{sql}");
    }
}

#[test]
fn files_are_refused_with_everything_that_is_wrong() {
    let good = "-- safe: yes\n\nSELECT 1;";
    for (name, text, wrong) in [
        ("001_a.up.sql", good, "the name is not"),
        ("0001_A.up.sql", good, "the name is not"),
        ("0001_a.sql", good, "the name is not"),
        ("0001_a.up.sql", "SELECT 1;", "needs `-- safe"),
        (
            "0001_a.up.sql",
            "-- safe: no\n\nSELECT 1;",
            "needs a reason",
        ),
        (
            "0001_a.up.sql",
            "-- safe: perhaps\n\nSELECT 1;",
            "safe is neither",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- phase: both\n\nSELECT 1;",
            "phase is neither",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- phase: contract\n\nSELECT 1;",
            "a contract needs",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- after: 1.0.0\n\nSELECT 1;",
            "for a contract only",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- phase: contract\n-- after: soon\n\nSELECT 1;",
            "not a version",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- transactoin: no\n\nSELECT 1;",
            "unknown directive",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- safe: yes\n\nSELECT 1;",
            "a second",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n\n-- transaction: no\nSELECT 1;",
            "not among the first",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- transaction: no\n\nSELECT 1; SELECT 2;",
            "has 2 statements",
        ),
        ("0001_a.up.sql", "-- safe: yes\n", "has no statement"),
        ("0001_a.up.sql", "", "has no statement"),
        (
            "0001_a.up.sql",
            "-- safe: yes\n\nSELECT 1; COMMIT;",
            "ends a transaction",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n\nSELECT 'x",
            "is not closed",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n\nCREATE INDEX CONCURRENTLY i ON t (x);",
            "needs `-- transaction: no`",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- transaction: no\n\nCREATE INDEX CONCURRENTLY ON t (x);",
            "needs a name",
        ),
        (
            "0001_a.up.sql",
            "-- safe: yes\n-- transaction: no\n\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (x);",
            "IF NOT EXISTS",
        ),
        ("0001_a.down.sql", good, "no up file"),
    ] {
        let problems = Migrations::embedded(&[(name, text)]).expect_err(wrong);
        let problems = problems.to_string();
        assert!(problems.contains(wrong), "{name} {text:?}: {problems}");
    }
    // The sides of a pair have one name, a number belongs to one pair, and a strict folder has no gap.
    let twice = Migrations::embedded(&[ONE, ("00001_b.up.sql", good), ("0001_b.down.sql", good)]);
    let twice = twice.expect_err("a number twice").to_string();
    assert!(twice.contains("the same number"), "{twice}");
    let files = [ONE, CONTRACT];
    assert!(Migrations::embedded(&files).is_ok());
    let gap = Migrations::embedded(&[ONE, CONTRACT, ("STRICT", "")]).expect_err("a gap");
    assert!(
        gap.to_string().contains("a gap between 0001 and 0003"),
        "{gap}"
    );
    let many = Migrations::embedded(&[("x.sql", ""), ("0001_a.up.sql", "")]);
    let many = many.expect_err("three problems").to_string();
    assert!(many.starts_with("3 things"), "{many}");
}

#[test]
fn a_checksum_is_that_of_the_text_whatever_its_line_ends() {
    let unix = read(&[ONE]);
    let dos = read(&[(ONE.0, &ONE.1.replace('\n', "\r\n"))]);
    assert_eq!(applied(&unix)[0].checksum, applied(&dos)[0].checksum);
    // `printf '…' | sha256sum`
    assert_eq!(
        applied(&unix)[0].checksum,
        "b0dc697a9188fb63650ac85256fac437e6b9323475c16b54bfc2b9673e0ee27f"
    );
}

#[test]
fn pending_is_what_has_no_row() {
    let all = read(&[ONE, TWO, CONTRACT]);
    let rows = applied(&all);
    let pending = |rows: &[Row], options: &Options| {
        plan::pending(&all, rows, options)
            .map(|pending| pending.iter().map(|one| one.version).collect::<Vec<_>>())
    };
    let default = Options::default();
    assert_eq!(pending(&[], &default).expect("a plan"), [1, 2, 3]);
    assert_eq!(pending(&rows[..1], &default).expect("a plan"), [2, 3]);
    let expand = Options {
        expand_only: true,
        ..Options::default()
    };
    assert_eq!(pending(&rows[..1], &expand).expect("a plan"), [2]);

    let gap = [rows[0].clone(), rows[2].clone()];
    let refused = pending(&gap, &default).expect_err("a late one");
    assert!(
        matches!(refused, MigrateError::OutOfOrder { .. }),
        "{refused}"
    );
    let late = Options {
        out_of_order: true,
        ..Options::default()
    };
    assert_eq!(pending(&gap, &late).expect("a plan"), [2]);
}

#[test]
fn what_was_applied_must_still_be_there() {
    let all = read(&[ONE, TWO, CONTRACT]);
    let rows = applied(&all);
    let default = Options::default();

    let edited = read(&[ONE, (TWO.0, "-- safe: yes\n\nSELECT 2;"), CONTRACT]);
    let refused = plan::pending(&edited, &rows, &default).expect_err("an edited file");
    let text = refused.to_string();
    assert!(text.contains("0002_b"), "{text}");
    assert!(text.contains(&rows[1].checksum), "{text}");
    assert!(text.contains(&applied(&edited)[1].checksum), "{text}");

    let vanished = read(&[ONE, CONTRACT]);
    let refused = plan::pending(&vanished, &rows, &default).expect_err("a vanished file");
    let text = refused.to_string();
    assert!(text.contains("the file is missing"), "{text}");

    let mut unfinished = rows.clone();
    unfinished[1].applied = false;
    let refused = plan::pending(&all, &unfinished, &default).expect_err("an unfinished one");
    let text = refused.to_string();
    assert!(text.contains("migrate repair"), "{text}");
    assert!(text.contains("DROP INDEX CONCURRENTLY"), "{text}");
    let states: Vec<_> = plan::compare(&vanished, &unfinished)
        .iter()
        .map(|entry| entry.state)
        .collect();
    assert_eq!(states, [State::Applied, State::Vanished, State::Applied]);
}

#[test]
fn code_rolled_back_starts_behind_an_expand_and_not_behind_a_contract() {
    let (old, wider, newest) = (read(&[ONE]), read(&[ONE, TWO]), read(&[ONE, TWO, CONTRACT]));
    // Older than needed.
    let refused = plan::check(&wider, &applied(&old)).expect_err("a missing expand");
    assert!(
        refused.to_string().contains("at 0001 and lacks 0002_b"),
        "{refused}"
    );
    let empty = plan::check(&old, &[]).expect_err("an empty schema");
    assert!(
        matches!(empty, MigrateError::Older { newest: 0, .. }),
        "{empty}"
    );
    // New code runs before its own contract.
    let schema = plan::check(&newest, &applied(&wider)).expect("a start");
    assert_eq!(schema.contracts, ["0003_c"]);
    // Old code runs behind an expand, finished or at work, and not behind a contract.
    let mut rows = applied(&wider);
    assert_eq!(plan::check(&old, &rows).expect("a start").newer, ["0002_b"]);
    rows[1].applied = false;
    assert!(plan::check(&old, &rows).is_ok());
    let refused = plan::check(&wider, &applied(&newest)).expect_err("a contract");
    let text = refused.to_string();
    assert!(
        text.contains("knows 0002") && text.contains("0003_c"),
        "{text}"
    );
}

#[test]
fn a_way_down_must_be_whole() {
    let back = ("0002_b.down.sql", "DROP TABLE b;");
    let all = read(&[ONE, TWO, back]);
    let rows = applied(&all);
    let undone = plan::undone(&all, &rows, 1).expect("a way down");
    assert_eq!(undone.len(), 1);
    let stuck = plan::undone(&all, &rows, 0).expect_err("no way down");
    assert!(stuck.to_string().contains("0001_a"), "{stuck}");
}

#[test]
fn releases_are_ordered_by_their_numbers() {
    let parse = |text| Release::parse(text).expect("a version");
    assert!(parse("1.9.0") < parse("1.10.0"));
    assert!(parse("2.0.0-rc1") >= parse("2"));
    assert_eq!(parse("1.4").to_string(), "1.4.0");
    for wrong in ["", "v1.0.0", "1..0", "latest", "-1"] {
        assert_eq!(Release::parse(wrong), None, "{wrong}");
    }
    assert_eq!(Phase::Contract.as_str(), "contract");
}
