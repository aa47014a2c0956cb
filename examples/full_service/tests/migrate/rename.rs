//! The shipped example: a column renamed in five migrations, under three versions of the code.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sqlx::{Connection, PgConnection, Row};
use tempfile::TempDir;

use crate::{
    common::{folder, migrate, versions},
    support::{postgres::Database, wait_for},
};

const USERS: (&str, &str) = (
    "0001_users",
    "-- safe: yes\n\nCREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
     INSERT INTO users (name) SELECT 'old ' || n FROM generate_series(1, 5000) n;
     CREATE TABLE instances (version text NOT NULL, seen_at timestamptz NOT NULL);",
);

/// The statements of a version of the code: it creates, changes and reads a user.
struct Code {
    version: &'static str,
    insert: &'static str,
    update: &'static str,
    read: &'static str,
}

const ONE: Code = Code {
    version: "1.0.0",
    insert: "INSERT INTO users (name) VALUES ($1) RETURNING id",
    update: "UPDATE users SET name = $1 WHERE id = $2",
    read: "SELECT name FROM users WHERE id = $1",
};
const TWO: Code = Code {
    version: "2.0.0",
    insert: "INSERT INTO users (display_name) VALUES ($1) RETURNING id",
    update: "UPDATE users SET display_name = $1 WHERE id = $2",
    read: "SELECT coalesce(display_name, name) FROM users WHERE id = $1",
};
const THREE: Code = Code {
    version: "3.0.0",
    read: "SELECT display_name FROM users WHERE id = $1",
    ..TWO
};

/// An instance of the service under load, until it is stopped.
struct Instance {
    code: &'static Code,
    requests: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), sqlx::Error>>,
}

/// The last name of a user that any instance has written and had confirmed: all write to the same one in turn.
type Shared = Arc<Mutex<Vec<(i64, String)>>>;

// === impl Instance ===

impl Instance {
    fn start(database: &Database, code: &'static Code, shared: &Shared) -> Self {
        let alive = format!(
            "INSERT INTO instances VALUES ('{}', now() + interval '1 hour')",
            code.version
        );
        database.ask(&alive);
        let (requests, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = thread::spawn({
            let (url, requests, stop, shared) = (
                database.url.clone(),
                requests.clone(),
                stop.clone(),
                shared.clone(),
            );
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let serve = serve(&url, code, &requests, &stop, &shared);
                runtime.expect("a runtime").block_on(serve)
            }
        });
        Self {
            code,
            requests,
            stop,
            thread,
        }
    }

    /// Waits until it has served more under the schema as it is now.
    fn serves(&self) {
        let before = self.requests.load(Ordering::SeqCst);
        wait_for("more requests", || {
            let more = self.requests.load(Ordering::SeqCst) >= before + 20;
            (more || self.thread.is_finished()).then_some(())
        });
        assert!(
            !self.thread.is_finished(),
            "{} has failed",
            self.code.version
        );
    }

    fn stop(self, database: &Database) {
        self.serves();
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic").expect("no error");
        database.ask(&format!(
            "DELETE FROM instances WHERE version = '{}'",
            self.code.version
        ));
    }
}

async fn serve(
    url: &str,
    code: &Code,
    requests: &AtomicU64,
    stop: &AtomicBool,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    while !stop.load(Ordering::SeqCst) {
        let number = requests.load(Ordering::SeqCst);
        let name = format!("{} {number}", code.version);
        let row = sqlx::query(code.insert)
            .bind(&name)
            .fetch_one(&mut connection)
            .await?;
        let id: i64 = row.try_get(0)?;
        // What another instance has written is changed and read back, as is an old row.
        let theirs = std::mem::take(&mut *shared.lock().expect("shared"));
        for (id, name) in theirs {
            assert_eq!(
                read(&mut connection, code, id).await?,
                name,
                "{} reads",
                code.version
            );
            let changed = format!("{name}, changed");
            let update = sqlx::query(code.update).bind(&changed).bind(id);
            update.execute(&mut connection).await?;
            assert_eq!(
                read(&mut connection, code, id).await?,
                changed,
                "{} writes",
                code.version
            );
        }
        let old = i64::try_from(number % 5000).unwrap_or(0) + 1;
        assert_eq!(
            read(&mut connection, code, old).await?,
            format!("old {old}")
        );
        shared.lock().expect("shared").push((id, name));
        requests.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn read(connection: &mut PgConnection, code: &Code, id: i64) -> Result<String, sqlx::Error> {
    let query = sqlx::query_scalar(code.read).bind(id);
    let name: Option<String> = query.fetch_one(connection).await?;
    Ok(name.unwrap_or_default())
}

/// Adds a step of the example to the folder, as a pull request does.
fn add(folder: &TempDir, number: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/example_rename");
    for entry in std::fs::read_dir(example).expect("the example") {
        let path = entry.expect("a file").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name.starts_with(number) {
            std::fs::copy(&path, folder.path().join(name)).expect("a copy");
        }
    }
}

#[test]
fn five_steps_and_three_versions_of_the_code_without_an_error() {
    let database = Database::create();
    let folder = folder(&[USERS]);
    migrate(&database.url, &folder, &["apply"]).succeeded();
    let shared = Shared::default();
    let step = |number: &str, running: &[&Instance]| {
        add(&folder, number);
        let applied = migrate(&database.url, &folder, &["apply", "--json"]).json();
        assert_eq!(
            versions(&applied, "applied"),
            [number.parse::<i64>().expect("a number")]
        );
        running.iter().for_each(|instance| instance.serves());
    };

    let one = Instance::start(&database, &ONE, &shared);
    one.serves();
    step("0101", &[&one]);
    let two = Instance::start(&database, &TWO, &shared);
    two.serves();
    step("0102", &[&one, &two]);
    assert_eq!(
        database.ask("SELECT count(*) FROM users WHERE display_name IS DISTINCT FROM name"),
        "0"
    );
    step("0103", &[&one, &two]);
    step("0104", &[&one, &two]);
    one.stop(&database);
    let three = Instance::start(&database, &THREE, &shared);
    three.serves();

    // Code 2 reads `name`, so it must be gone.
    add(&folder, "0105");
    migrate(&database.url, &folder, &["apply"]).refused(&["0105_name_gone", "1 of version 2.0.0"]);
    two.serves();
    two.stop(&database);
    step("0105", &[&three]);
    three.stop(&database);
    let columns = "SELECT string_agg(column_name || is_nullable, ' ' ORDER BY column_name)
                   FROM information_schema.columns WHERE table_name = 'users'";
    assert_eq!(database.ask(columns), "display_nameNO idNO");
}
