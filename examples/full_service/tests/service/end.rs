//! The order of the end on PostgreSQL: requests, workers and the connection that listens, the pool, the log.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    api,
    client::Client,
    postgres::Database,
    service::{Ended, Service, timed},
    wait_for,
};

/// Returns the steps of the printed report, in their order, without their times; the workers, which end at once, by name.
fn steps(ended: &Ended) -> Vec<String> {
    let printed = ended.printed();
    let steps = printed.lines().map(str::trim).filter_map(|line| {
        let (step, time) = line.rsplit_once(" (")?;
        let kinds = ["worker ", "closer ", "flush "];
        (time.ends_with(')') && kinds.iter().any(|kind| step.starts_with(kind)))
            .then(|| step.to_owned())
    });
    let mut steps: Vec<_> = steps.collect();
    let workers = steps.iter().take_while(|step| step.starts_with("worker "));
    let workers = workers.count();
    steps[..workers].sort();
    steps
}

/// Returns the number of the log line with this field.
fn position(ended: &Ended, field: &str, value: &str) -> usize {
    let is = |line: &String| {
        let line = serde_json::from_str::<Value>(line);
        line.is_ok_and(|line| line[field] == value)
    };
    let found = ended.output.iter().position(is);
    found.unwrap_or_else(|| panic!("{field}={value} in {:#?}", ended.output))
}

#[test]
fn nothing_ends_before_its_users() {
    let database = Database::create();
    let service = Service::start_ready(&[
        ("DATABASE_URL", &database.url),
        ("MIGRATE", "apply"),
        ("LAME_DUCK", "1ms"),
    ]);
    let user = api::user(service.address, "ada@example.com");
    wait_for("the connection that listens", || {
        let listens = "SELECT count(*) FROM pg_stat_activity
            WHERE query LIKE 'LISTEN%' AND state = 'idle' AND datname = current_database()";
        (database.ask(listens) == "1").then_some(())
    });
    let mut slow = Client::connect(service.address).expect("a connection");
    slow.send_get("/slow?ms=700").expect("sent");
    // On its way at the signal: it is answered, and its job is done by this process or the next.
    let mut late = Client::connect(service.address).expect("a connection");
    let order = api::order(&user).to_string();
    let head = format!(
        "POST /api/v1/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        order.len()
    );
    let (begun, rest) = order.split_at(10);
    late.send(format!("{head}{begun}").as_bytes())
        .expect("sent");
    service.phase("ready");

    service.signal(Signal::TERM);
    service.logged("phase", "draining");
    late.send(rest.as_bytes()).expect("sent");
    assert_eq!(late.response().expect("an answer").head.status, 201);
    assert_eq!(slow.response().expect("an answer").head.status, 200);
    let ended = service.ended();
    ended.assert_clean();
    assert_eq!(
        steps(&ended),
        [
            "worker flags: done",
            "worker instance: done",
            "worker jobs-1: done",
            "worker jobs-2: done",
            "worker jobs-listener: done",
            "closer database: done",
            "flush logs: done",
        ]
    );
    let order = [
        ("phase", "draining"),
        ("event", "drained"),
        ("message", "the database is closed"),
        ("phase", "closed"),
        ("message", "shutdown report"),
    ];
    let positions = order.map(|(field, value)| position(&ended, field, value));
    assert!(positions.is_sorted(), "{positions:?}: {:#?}", ended.output);
    assert_eq!(database.ask("SELECT count(*) FROM instances"), "0");
    let running = "SELECT count(*) FROM jobs WHERE state = 'running'";
    assert_eq!(database.ask(running), "0", "no job is left in a lease");
}

#[test]
fn closer_says_how_many_connections_did_not_come_back() {
    let database = Database::create();
    // With one connection there is none for a farewell.
    for pool in ["10", "1"] {
        let service = Service::start_ready(&[
            ("DATABASE_URL", &database.url),
            ("MIGRATE", "apply"),
            ("DATABASE_POOL", pool),
            ("DATABASE_STATEMENT_TIMEOUT", "1m"),
            ("JOBS", "0"),
            ("LAME_DUCK", "off"),
            ("DRAIN_TIMEOUT", "300ms"),
        ]);
        let user = api::user(service.address, &format!("ada{pool}@example.com"));
        let mut session = database.session();
        session.ask("BEGIN");
        session.ask("LOCK TABLE orders");
        let mut client = Client::connect(service.address).expect("a connection");
        let order = api::order(&user).to_string();
        let request = format!(
            "POST /api/v1/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{order}",
            order.len()
        );
        client.send(request.as_bytes()).expect("sent");
        wait_for("a statement that waits", || {
            let waits = "SELECT count(*) FROM pg_stat_activity
                WHERE wait_event_type = 'Lock' AND datname = current_database()";
            (database.ask(waits) == "1").then_some(())
        });

        service.signal(Signal::TERM);
        let (ended, took) = timed(|| service.ended());
        assert_eq!(ended.status.code(), Some(1));
        assert_eq!(
            steps(&ended),
            [
                "worker flags: done",
                "worker instance: done",
                "closer database: FAILED: 1 connection was still lent",
                "flush logs: done",
            ]
        );
        // The drain, the closer, and a busy machine.
        assert!(took < Duration::from_secs(8), "{took:?}");
        session.ask("ROLLBACK");
        drop(client);
    }
}
