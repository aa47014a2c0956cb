//! PgBouncer in between: refused where it lends a connection per transaction.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    common::{folder, migrate},
    support::{free_address, postgres::Database, wait_for},
};

struct PgBouncer {
    child: Child,
    url: String,
    _place: TempDir,
}

impl PgBouncer {
    fn start(database: &Database, settings: &str) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let (users, config) = (
            place.path().join("users"),
            place.path().join("pgbouncer.ini"),
        );
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("a file");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             auth_type = trust\nauth_file = {}\nunix_socket_dir =\n{settings}\n",
            database.port(),
            address.port(),
            users.display(),
        );
        std::fs::write(&config, text).expect("a file");
        for path in [place.path(), &users, &config] {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, mode).expect("a mode");
        }
        let mut command = Command::new("pgbouncer");
        command.arg("-q").arg(&config);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        let child = command
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is installed");
        let url = database.url.replace(
            &format!(":{}/", database.port()),
            &format!(":{}/", address.port()),
        );
        let bouncer = Self {
            child,
            url,
            _place: place,
        };
        wait_for("PgBouncer to listen", || TcpStream::connect(address).ok());
        bouncer
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pooler_per_transaction_is_refused_and_one_per_session_is_not() {
    let database = Database::create();
    let folder = folder(&[("0001_items", "-- safe: yes\n\nCREATE TABLE items (id int);")]);
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = transaction\nmin_pool_size = 5\nserver_round_robin = 1",
    ] {
        let bouncer = PgBouncer::start(&database, settings);
        // Again, with connections to the server that are there already.
        for _ in 0..3 {
            migrate(&bouncer.url, &folder, &["apply"])
                .refused(&["in transaction mode", "PgBouncer"]);
        }
        assert_eq!(database.ask("SELECT to_regclass('schema_migrations')"), "");
    }
    let bouncer = PgBouncer::start(&database, "pool_mode = session");
    migrate(&bouncer.url, &folder, &["apply"]).succeeded();
}
