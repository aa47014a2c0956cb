//! A real PostgreSQL on a port of its own: one server for the tests of a process, a database for each test.
//!
//! It needs `initdb` and `postgres` in `PATH` or where Debian puts them. As root it runs as the user `postgres`.

// Each test file uses a part of this module only.
#![allow(dead_code)]

use std::{
    fs::{File, Permissions, set_permissions},
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longer than a start on a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database of its own. The server stops with the last one of the process.
pub struct Database {
    pub url: String,
    name: String,
    server: Arc<Server>,
}

/// A session of `psql`.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

// === impl Database ===

impl Database {
    /// Creates an empty database, and starts the server before it if it does not run.
    pub fn create() -> Self {
        let server = Server::running();
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        server.ask("postgres", &format!("CREATE DATABASE {name}"));
        let port = server.port;
        Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/{name}"),
            name,
            server,
        }
    }

    /// Runs SQL by `psql`, and returns its rows, a line each, with `|` between the columns.
    pub fn ask(&self, sql: &str) -> String {
        self.server.ask(&self.name, sql)
    }

    /// Opens a session, which keeps its transaction between two statements.
    pub fn session(&self) -> Session {
        let mut child = self
            .server
            .client(&self.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql is installed");
        Session {
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    /// Returns the log of the server so far.
    pub fn log(&self) -> String {
        let log = self.server.directory.path().join("log");
        std::fs::read_to_string(log).expect("a log")
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }
}

// === impl Session ===

impl Session {
    /// Runs SQL, and returns its rows, a line each, with `|` between the columns.
    pub fn ask(&mut self, sql: &str) -> String {
        const END: &str = "end of the answer";
        writeln!(self.input, "{sql};\n\\echo {END}").expect("a session");
        let mut rows = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "the session has ended: {sql}");
            if line.trim_end() == END {
                return rows.trim_end().to_owned();
            }
            rows.push_str(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Server ===

impl Server {
    fn running() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *running = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("a mode");
        let data = directory.path().join("data");
        let mut install = Command::new("install");
        install.args(["-d", "-m", "700"]).arg(&data);
        if is_root() {
            install.args(["-o", "postgres", "-g", "postgres"]);
        }
        run(&mut install);
        run(as_postgres(&program("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])
            .arg("-D")
            .arg(&data));

        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let log = File::create(directory.path().join("log")).expect("a log");
        // The shell outlives a test that is killed: the end of its input, however it comes, is the end of the server.
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            r#""$@" & read -r _; kill -INT $!; wait $!"#,
            "postgres",
        ]);
        let mut postgres = as_postgres(&program("postgres"));
        postgres.arg("-D").arg(&data);
        for setting in [
            &format!("port={port}"),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=200",
            "log_disconnections=on",
            "log_line_prefix=%p %a ",
        ] {
            postgres.args(["-c", setting]);
        }
        let child = shell
            .arg(postgres.get_program())
            .args(postgres.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let server = Self {
            child,
            port,
            directory,
        };
        let deadline = Instant::now() + PATIENCE;
        while !server.psql("postgres", "SELECT 1").status.success() {
            let log = server.directory.path().join("log");
            assert!(
                Instant::now() < deadline,
                "no answer from PostgreSQL: {:?}",
                std::fs::read_to_string(log)
            );
            sleep(Duration::from_millis(20));
        }
        server
    }

    fn client(&self, database: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string()])
            .args(["-d", database]);
        psql
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = self.client(database);
        psql.args(["-c", sql]).output().expect("psql is installed")
    }

    fn ask(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {stderr}");
        let rows = String::from_utf8(output.stdout).expect("UTF-8");
        rows.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a command that root runs as the user `postgres`, since PostgreSQL refuses root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let debian = versions.into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let found = std::env::split_paths(&path)
        .chain(debian)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} of PostgreSQL is installed"))
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}
