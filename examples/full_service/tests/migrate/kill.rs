//! SIGKILL at every boundary of a run: each message to the server is counted by a proxy, and one of them is the last.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Child,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    common::{Ran, command, folder, migrate},
    support::postgres::Database,
};

const FILES: [(&str, &str); 5] = [
    (
        "0001_items",
        "-- safe: yes\n\nCREATE TABLE items (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO items VALUES (1, 'one'); INSERT INTO items VALUES (2, 'two');",
    ),
    (
        "0002_by_name",
        "-- safe: yes\n-- transaction: no\n\nCREATE INDEX CONCURRENTLY by_name ON items (name);",
    ),
    (
        "0003_price",
        "-- safe: yes\n\nALTER TABLE items ADD COLUMN price int; UPDATE items SET price = id;",
    ),
    (
        "0004_by_price",
        "-- safe: yes\n-- transaction: no\n\nCREATE UNIQUE INDEX CONCURRENTLY by_price ON items (price);",
    ),
    (
        "0005_not_by_name",
        "-- safe: yes\n-- transaction: no\n\nDROP INDEX CONCURRENTLY by_name;",
    ),
];

/// The state of the whole schema: each migration, each row, each index.
const STATE: &str = "
    SELECT (SELECT string_agg(version || state, ' ' ORDER BY version) FROM schema_migrations),
           (SELECT string_agg(id || name || price, ' ' ORDER BY id) FROM items),
           (SELECT string_agg(indexrelid::regclass::text || indisvalid, ' ' ORDER BY indexrelid::regclass::text)
            FROM pg_index WHERE indrelid = 'items'::regclass)";

const DONE: &str =
    "1applied 2applied 3applied 4applied 5applied|1one1 2two2|by_pricetrue items_pkeytrue";

/// The moment of a kill: a message that the server gets no more, or one whose answer is not awaited.
#[derive(Clone, Copy, Debug)]
struct Kill {
    message: usize,
    sent: bool,
}

/// A proxy in front of PostgreSQL that kills its client.
struct Proxy {
    address: SocketAddr,
    run: Arc<Run>,
}

struct Run {
    port: u16,
    kill: Option<Kill>,
    messages: AtomicUsize,
    victim: OnceLock<Pid>,
}

// === impl Proxy ===

impl Proxy {
    fn start(port: u16, kill: Option<Kill>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let run = Arc::new(Run {
            port,
            kill,
            messages: AtomicUsize::new(0),
            victim: OnceLock::new(),
        });
        let proxy = Self {
            address,
            run: Arc::clone(&run),
        };
        // An applier has two connections, or one if it is killed before.
        thread::spawn(move || {
            for client in listener.incoming().take(2) {
                let (client, run) = (client.expect("a client"), Arc::clone(&run));
                thread::spawn(move || run.forward(client));
            }
        });
        proxy
    }
}

// === impl Run ===

impl Run {
    fn forward(&self, mut client: TcpStream) {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).expect("a server");
        let (mut from, mut to) = (
            server.try_clone().expect("a clone"),
            client.try_clone().expect("a clone"),
        );
        let back = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut buffer = [0; 16 * 1024];
        // The driver sends one message or batch at a time, and waits for the answer.
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            let message = 1 + self.messages.fetch_add(1, Ordering::SeqCst);
            let kill = self.kill.filter(|kill| kill.message == message);
            if kill.is_none_or(|kill| kill.sent) && server.write_all(&buffer[..length]).is_err() {
                break;
            }
            if kill.is_some() {
                // A farewell has no answer: its sender may have ended by itself.
                let _ = kill_process(*self.victim.wait(), Signal::KILL);
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = back.join();
    }
}

/// Runs `apply` through a proxy, and returns its end and the messages that it sent.
fn apply(database: &Database, folder: &TempDir, kill: Option<Kill>) -> (Ran, usize) {
    let proxy = Proxy::start(database.port(), kill);
    let through = format!(":{}/", proxy.address.port());
    let url = database
        .url
        .replace(&format!(":{}/", database.port()), &through);
    let child: Child = command(&url, folder.path(), &["apply"])
        .spawn()
        .expect("the program starts");
    proxy
        .run
        .victim
        .set(Pid::from_child(&child))
        .expect("one victim");
    let ran = Ran::from(child.wait_with_output().expect("an end"));
    (ran, proxy.run.messages.load(Ordering::SeqCst))
}

/// Applies again after a kill, with a repair where the answer is to run one.
fn recover(database: &Database, folder: &TempDir) {
    let ran = migrate(&database.url, folder, &["apply"]);
    if ran.code != Some(0) {
        ran.refused(&["migrate repair"]);
        migrate(&database.url, folder, &["repair"]).succeeded();
        migrate(&database.url, folder, &["apply"]).succeeded();
    }
}

#[test]
fn a_kill_at_any_boundary_leaves_what_the_next_run_completes() {
    let folder = folder(&FILES);
    let database = Database::create();
    let (ran, messages) = apply(&database, &folder, None);
    ran.succeeded();
    assert_eq!(database.ask(STATE), DONE);
    assert!(messages > 40, "{messages}");

    let moments =
        (1..=messages).flat_map(|message| [false, true].map(|sent| Kill { message, sent }));
    let moments = Mutex::new(moments);
    let killed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let database = Database::create();
                loop {
                    let Some(kill) = moments.lock().expect("moments").next() else {
                        break;
                    };
                    let (ran, _) = apply(&database, &folder, Some(kill));
                    killed.fetch_add(usize::from(ran.code.is_none()), Ordering::SeqCst);
                    recover(&database, &folder);
                    assert_eq!(database.ask(STATE), DONE, "{kill:?}");
                    database.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
                }
            });
        }
    });
    // Only those that close a connection may come after the last answer.
    let killed = killed.into_inner();
    assert!(killed > 2 * messages - 6, "{killed} of {messages} twice");
}

#[test]
fn sqlite_too() {
    let steps: Vec<_> = (1..=20)
        .map(|step| {
            let text = format!(
                "-- safe: yes\n\nCREATE TABLE t{step} (x integer); INSERT INTO t{step} VALUES (1);
                 INSERT INTO t{step} VALUES (2);"
            );
            (format!("{step:04}_t{step}"), text)
        })
        .collect();
    let steps: Vec<_> = steps
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let folder = folder(&steps);
    let place = tempfile::tempdir().expect("a folder");
    let url = |name: &str| format!("sqlite://{}?mode=rwc", place.path().join(name).display());
    let state = |url: &str| {
        let status = migrate(url, &folder, &["status", "--json"]).json();
        let lines = status["migrations"].as_array().expect("a list").clone();
        lines
            .iter()
            .filter(|line| line["state"] == "applied")
            .count()
    };

    let begun = std::time::Instant::now();
    migrate(&url("whole"), &folder, &["apply"]).succeeded();
    let whole = begun.elapsed();
    let mut halfway = 0;
    for moment in 0..40 {
        let url = url(&format!("killed{moment}"));
        let mut child = command(&url, folder.path(), &["apply"])
            .spawn()
            .expect("the program starts");
        thread::sleep(whole * moment / 40);
        child.kill().expect("it was running");
        child.wait().expect("an end");
        halfway += usize::from((1..20).contains(&state(&url)));
        migrate(&url, &folder, &["apply"]).succeeded();
        assert_eq!(state(&url), 20, "moment {moment}");
        // A half of a migration would have failed at its first statement, or be seen here.
        migrate(&url, &folder, &["apply"]).succeeded();
    }
    assert!(halfway > 0, "no kill came between the first and the last");
}
