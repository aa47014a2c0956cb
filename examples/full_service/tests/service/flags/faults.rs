//! Redis breaks in every way, and no value changes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{USER, instance, list, metric, put, rollout, value};
use crate::support::{
    api::order,
    client::{self, Client},
    redis::Redis,
    wait_for,
};

/// A client whose orders are not taken, by a flag whose default takes them. It notes each answer that is another.
struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Prober {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let mut client = Client::connect(address).expect("a connection");
                let body = order(USER).to_string();
                let length = body.len();
                let request = format!(
                    "POST /api/v1/orders HTTP/1.1\r\nhost: test\r\n\
                     content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    client.send(request.as_bytes()).expect("sent");
                    let answer = client.response().expect("an answer");
                    took.push(begun.elapsed());
                    let kind = answer.json()["type"].clone();
                    assert_eq!(
                        (answer.head.status, &kind),
                        (503, &json!("/problems/orders-closed"))
                    );
                    std::thread::sleep(Duration::from_millis(2));
                }
                took
            }
        });
        Self { stop, thread }
    }

    /// Returns the times of all answers, sorted.
    fn end(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().expect("no other answer");
        took.sort_unstable();
        took
    }
}

/// What an instance answers about flags whose default is otherwise.
struct Values {
    admin: SocketAddr,
    percent: Vec<Option<bool>>,
}

impl Values {
    fn of(admin: SocketAddr) -> Self {
        Self {
            admin,
            percent: Self::percent(admin),
        }
    }

    fn percent(admin: SocketAddr) -> Vec<Option<bool>> {
        let tenants = (0..10).map(|number| format!("tenant-{number}"));
        tenants
            .map(|tenant| value(admin, "percent", &tenant))
            .collect()
    }

    fn assert_same(&self, fault: &str) {
        assert_eq!(Self::percent(self.admin), self.percent, "{fault}");
        assert_eq!(value(self.admin, "listed", "in"), Some(true), "{fault}");
        assert_eq!(value(self.admin, "listed", "out"), Some(false), "{fault}");
    }
}

fn until_error(admin: SocketAddr, says: &str) {
    wait_for(says, || {
        let error = list(admin)["error"].to_string();
        error.contains(says).then_some(())
    });
}

fn until_well(admin: SocketAddr) {
    wait_for("a refresh", || list(admin)["error"].is_null().then_some(()));
}

#[test]
fn no_fault_of_redis_changes_a_value() {
    let mut redis = Redis::start();
    let service = instance(&redis, &[("FLAGS_REFRESH", "50ms")]);
    let admin = service.admin();
    let closed = json!({ "enabled": true, "rollout": 100, "denied": [USER] });
    let listed = json!({ "enabled": true, "rollout": 0, "tenants": ["in"] });
    for (key, flag) in [
        ("orders-open", &closed),
        ("listed", &listed),
        ("percent", &rollout(50.0)),
        ("moves", &rollout(0.0)),
    ] {
        let status = put(admin, key, "", flag).head.status;
        assert!(matches!(status, 200 | 201), "{key} {status}");
    }
    let values = Values::of(admin);
    assert!(values.percent.contains(&Some(true)) && values.percent.contains(&Some(false)));

    let before = Prober::start(service.address);
    std::thread::sleep(Duration::from_millis(500));
    let before = before.end();
    let prober = Prober::start(service.address);

    redis.hang();
    wait_for("a failed look", || {
        (metric(admin, "flags_refresh_failures_total") >= 1.0).then_some(())
    });
    values.assert_same("hanging");
    redis.wake();
    until_well(admin);

    // In one step each: flags that are removed for a moment are removed.
    redis.run(&[
        &[b"MULTI"],
        &[b"RENAME", b"flags", b"saved"],
        &[b"SET", b"flags", b"rubbish"],
        &[b"INCR", b"flags:version"],
        &[b"EXEC"],
    ]);
    until_error(admin, "WRONGTYPE");
    values.assert_same("a string for the flags");
    assert_eq!(put(admin, "moves", "", &rollout(100.0)).head.status, 503);
    redis.run(&[&[b"RENAME", b"saved", b"flags"]]);
    until_well(admin);

    redis.run(&[&[b"SET", b"flags:version", b"soon"]]);
    until_error(admin, "soon");
    values.assert_same("a word for the version");
    redis.run(&[&[b"DEL", b"flags:version"]]);
    until_error(admin, "flags:version is missing");
    values.assert_same("no version");
    redis.run(&[&[b"SET", b"flags:version", b"100"]]);
    until_well(admin);

    let moved = rollout(100.0).to_string();
    redis.run(&[
        &[
            b"HSET",
            b"flags",
            b"percent",
            b"{\"enabled\":",
            b"moves",
            moved.as_bytes(),
        ],
        &[b"INCR", b"flags:version"],
    ]);
    wait_for("the good one", || {
        (value(admin, "moves", "a") == Some(true)).then_some(())
    });
    values.assert_same("one that is invalid");
    assert_eq!(metric(admin, "flags_invalid"), 1.0);
    assert!(list(admin)["invalid"]["percent"].is_string());
    let line = service.logged("message", "a flag is invalid; its last value stays");
    assert_eq!(line["flag"], "percent");

    redis.run(&[
        &[
            b"HSET",
            b"flags",
            b"percent",
            b"",
            b"listed",
            b"null",
            b"orders-open",
            b"\xff\xfe",
        ],
        &[
            b"HSET",
            b"flags",
            b"moves",
            b"[]",
            b"\xff",
            b"{}",
            b"Not A Key",
            b"1",
        ],
        &[b"INCR", b"flags:version"],
    ]);
    wait_for("the rubbish", || {
        (metric(admin, "flags_invalid") == 6.0).then_some(())
    });
    values.assert_same("rubbish everywhere");

    redis.run(&[&[b"FLUSHALL"]]);
    until_error(admin, "Redis has lost the flags");
    values.assert_same("nothing at all");
    // A change restores what was lost.
    assert_eq!(put(admin, "moves", "", &rollout(0.0)).head.status, 200);
    until_well(admin);
    values.assert_same("restored");
    assert_eq!(redis.run(&[&[b"HLEN", b"flags"]]), [":4"]);
    assert_eq!(metric(admin, "flags_invalid"), 0.0);

    let fields: Vec<String> = (0..9_996).map(|number| format!("more-{number}")).collect();
    let flag = rollout(12.345).to_string();
    let mut many: Vec<&[u8]> = vec![b"HSET", b"flags"];
    many.extend(
        fields
            .iter()
            .flat_map(|field| [field.as_bytes(), flag.as_bytes()]),
    );
    redis.run(&[&many, &[b"INCR", b"flags:version"]]);
    wait_for("10,000 flags", || {
        (metric(admin, "flags") == 10_000.0).then_some(())
    });
    values.assert_same("10,000 flags");
    assert_eq!(put(admin, "one-more", "", &rollout(1.0)).head.status, 409);
    redis.run(&[
        &[b"HSET", b"flags", b"one-more", flag.as_bytes()],
        &[b"INCR", b"flags:version"],
    ]);
    until_error(admin, "10001 flags are too many");
    values.assert_same("too many");

    redis.kill();
    let flags_in_health = || {
        let ready = client::get(admin, "/readyz").expect("an answer");
        assert_eq!(ready.head.status, 200, "it can do without");
        let ready = ready.json();
        let components = ready["components"].as_array().expect("components").clone();
        let flags = components
            .into_iter()
            .find(|component| component["name"] == "flags");
        flags.expect("a check of the flags")
    };
    wait_for("the warning", || {
        (flags_in_health()["status"] == "warn").then_some(())
    });
    values.assert_same("killed");
    let age = metric(admin, "flags_age_seconds");
    wait_for("the age", || {
        (metric(admin, "flags_age_seconds") > age + 0.2).then_some(())
    });

    redis.restart();
    until_error(admin, "Redis has lost the flags");
    values.assert_same("restarted, and empty");
    assert_eq!(remove_one(admin), 204);
    until_well(admin);
    values.assert_same("restored again");
    assert_eq!(redis.run(&[&[b"HLEN", b"flags"]]), [":9999"]);
    wait_for("health", || {
        (flags_in_health()["status"] == "pass").then_some(())
    });
    assert!(metric(admin, "flags_age_seconds") < age);

    let during = prober.end();
    let of = |took: &[Duration], percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "answers: before {} p50 {:?} p99 {:?}; during {} p50 {:?} p99 {:?} longest {:?}",
        before.len(),
        of(&before, 50),
        of(&before, 99),
        during.len(),
        of(&during, 50),
        of(&during, 99),
        of(&during, 100),
    );
    // One that waits for Redis takes seconds.
    assert!(of(&during, 99) < Duration::from_millis(500));
}

fn remove_one(admin: SocketAddr) -> u16 {
    super::remove(admin, "more-7", "").head.status
}

#[test]
fn change_of_a_client_that_leaves_has_its_line_in_the_log() {
    let redis = Redis::start();
    let service = instance(&redis, &[]);
    // It answers, and makes no change meanwhile.
    redis.run(&[&[b"CLIENT", b"PAUSE", b"60000", b"WRITE"]]);
    let mut client = Client::connect(service.admin()).expect("a connection");
    let flag = rollout(50.0).to_string();
    let request = format!(
        "PUT /admin/flags/left HTTP/1.1\r\nhost: test\r\nfrom: ada\r\ncontent-length: {}\r\n\r\n{flag}",
        flag.len()
    );
    client.send(request.as_bytes()).expect("sent");
    let waiting =
        "return tonumber(string.match(redis.call('INFO', 'clients'), 'blocked_clients:(%d+)'))";
    wait_for("the change", || {
        let answers = redis.run(&[&[b"EVAL_RO", waiting.as_bytes(), b"0"]]);
        (answers == [":1"]).then_some(())
    });
    drop(client);
    // The service sees that it has left.
    std::thread::sleep(Duration::from_millis(300));
    redis.run(&[&[b"CLIENT", b"UNPAUSE"]]);
    let line = service.logged("message", "a flag was changed");
    assert_eq!(
        (&line["flag"], &line["by"]),
        (&json!("left"), &json!("ada"))
    );
}
