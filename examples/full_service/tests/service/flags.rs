//! Feature flags: one Redis and many instances, a start without it, and changes by an operator.

mod faults;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    api::{order, send},
    client::{self, Response},
    redis::Redis,
    service::{Service, refused},
    wait_for,
};

/// A user of no order: one that is taken gets 422.
const USER: &str = "0199a1b2-0000-7000-8000-000000000001";

/// Starts an instance on this Redis, which looks at it often.
fn instance(redis: &Redis, more: &[(&str, &str)]) -> Service {
    let mut all = vec![
        ("REDIS_URL", redis.url.as_str()),
        ("FLAGS_REFRESH", "100ms"),
        ("RATE_LIMIT", "off"),
    ];
    all.extend(more);
    Service::start_ready(&all)
}

fn put(admin: SocketAddr, key: &str, headers: &str, flag: &Value) -> Response {
    let target = format!("/admin/flags/{key}");
    send(admin, "PUT", &target, headers, &flag.to_string())
}

fn remove(admin: SocketAddr, key: &str, headers: &str) -> Response {
    send(admin, "DELETE", &format!("/admin/flags/{key}"), headers, "")
}

fn show(admin: SocketAddr, key: &str, tenant: &str) -> Response {
    let target = format!("/admin/flags/{key}?tenant={tenant}");
    client::get(admin, &target).expect("an answer")
}

/// Returns the value of a flag that is known.
fn value(admin: SocketAddr, key: &str, tenant: &str) -> Option<bool> {
    let shown = show(admin, key, tenant);
    (shown.head.status == 200).then(|| shown.json()["value"] == true)
}

fn list(admin: SocketAddr) -> Value {
    let listed = client::get(admin, "/admin/flags").expect("an answer");
    listed.json()
}

/// Returns the metric without labels.
fn metric(admin: SocketAddr, name: &str) -> f64 {
    let scrape = client::get(admin, "/metrics").expect("metrics");
    let line = scrape.text().lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        value.parse().ok()
    });
    line.unwrap_or_else(|| panic!("{name} in {}", scrape.text()))
}

/// Places an order of `USER`: 503 while they are not taken, else 422.
fn order_status(service: &Service) -> (u16, Value) {
    let json = "content-type: application/json\r\n";
    let body = order(USER).to_string();
    let answer = send(service.address, "POST", "/api/v1/orders", json, &body);
    (answer.head.status, answer.json()["type"].clone())
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

fn rollout(percent: f64) -> Value {
    json!({ "enabled": true, "rollout": percent })
}

#[test]
fn change_on_one_admin_port_is_seen_by_all_instances() {
    let redis = Redis::start();
    // Without the hint they would see it in an hour.
    let hour = [("FLAGS_REFRESH", "1h")];
    let (one, two) = (instance(&redis, &hour), instance(&redis, &hour));
    assert_eq!(order_status(&two).0, 422, "orders are taken");

    let denied = json!({ "enabled": true, "rollout": 100, "denied": [USER] });
    let changed = put(
        one.admin(),
        "orders-open",
        "from: ada@example.com\r\n",
        &denied,
    );
    assert_eq!(changed.head.status, 200, "{}", changed.text());
    assert_eq!(changed.head.header("etag"), Some("\"v1\""));
    assert_eq!(changed.json()["flag"]["updated_by"], "ada@example.com");
    // The one that made it has it with the answer.
    let closed = (503, json!("/problems/orders-closed"));
    assert_eq!(order_status(&one), closed);
    wait_for("the other instance", || {
        (order_status(&two) == closed).then_some(())
    });
    let shown = show(two.admin(), "orders-open", USER).json();
    assert_eq!(
        (&shown["value"], &shown["reason"]),
        (&json!(false), &json!("denied"))
    );
    let shown = show(two.admin(), "orders-open", "another").json();
    assert_eq!(
        (&shown["value"], &shown["reason"]),
        (&json!(true), &json!("percentage"))
    );

    let line = one.logged("message", "a flag was changed");
    assert_eq!(
        (&line["flag"], &line["by"]),
        (&json!("orders-open"), &json!("ada@example.com"))
    );
    assert_eq!(line["before"], "enabled, rollout 100 %, version 0");
    let after = format!("enabled, rollout 100 %, denied [\"{USER}\"], version 1");
    assert_eq!(line["after"], after);

    assert_eq!(remove(two.admin(), "orders-open", "").head.status, 204);
    let line = two.logged("after", "none");
    assert_eq!(
        (&line["by"], &line["before"]),
        (&json!("127.0.0.1"), &json!(after))
    );
    assert_eq!(order_status(&two).0, 422, "the default");
    wait_for("the other instance", || {
        (order_status(&one).0 == 422).then_some(())
    });
    assert_eq!(show(one.admin(), "orders-open", USER).head.status, 404);
    assert_eq!(remove(one.admin(), "orders-open", "").head.status, 404);
}

#[test]
fn change_without_a_hint_is_seen_at_the_next_look() {
    let redis = Redis::start();
    let service = instance(&redis, &[]);
    let flag = rollout(100.0).to_string();
    redis.run(&[
        &[b"HSET", b"flags", b"by-hand", flag.as_bytes()],
        &[b"INCR", b"flags:version"],
    ]);
    wait_for("the flag", || value(service.admin(), "by-hand", "a"));

    // An idle connection that is closed costs nothing: the look connects anew.
    redis.run(&[
        &[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"],
        &[b"HSET", b"flags", b"by-hand-too", flag.as_bytes()],
        &[b"INCR", b"flags:version"],
    ]);
    wait_for("the flag", || value(service.admin(), "by-hand-too", "a"));
    assert_eq!(metric(service.admin(), "flags_refresh_failures_total"), 0.0);
}

#[test]
fn only_the_expected_version_is_changed() {
    let redis = Redis::start();
    let (one, two) = (instance(&redis, &[]), instance(&redis, &[]));
    let created = put(one.admin(), "new", "", &rollout(1.0));
    assert_eq!(created.head.status, 201, "{}", created.text());
    let tag = created.head.header("etag").expect("a tag").to_owned();

    // Of many changes to one version, one is made.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let changes: Vec<_> = (0..8)
            .map(|number| {
                let admin = [one.admin(), two.admin()][number % 2];
                let expected = format!("if-match: {tag}\r\n");
                let flag = rollout(number as f64);
                scope.spawn(move || put(admin, "new", &expected, &flag).head.status)
            })
            .collect();
        let changes = changes.into_iter();
        changes
            .map(|change| change.join().expect("no panic"))
            .collect()
    });
    let made = statuses.iter().filter(|status| **status == 200).count();
    let stale = statuses.iter().filter(|status| **status == 412).count();
    assert_eq!((made, stale), (1, 7), "{statuses:?}");

    // Without a version all are made, one after the other.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let admin = [one.admin(), two.admin()][number % 2];
            let key = format!("other-{number}");
            scope.spawn(move || assert_eq!(put(admin, &key, "", &rollout(1.0)).head.status, 201));
        }
    });
    wait_for("all of them", || {
        (list(one.admin())["version"] == 10).then_some(())
    });
    assert_eq!(
        list(one.admin())["flags"].as_object().expect("flags").len(),
        10
    );

    for (header, status) in [
        ("if-match: *\r\n", 200),
        ("if-match: \"v0\"\r\n", 412),
        ("if-match: W/\"v1\"\r\n", 412),
        ("if-match: rubbish\r\n", 412),
    ] {
        let flag = rollout(5.0);
        assert_eq!(
            put(one.admin(), "new", header, &flag).head.status,
            status,
            "{header}"
        );
    }
    assert_eq!(
        put(one.admin(), "none", "if-match: *\r\n", &rollout(5.0))
            .head
            .status,
        412
    );
    assert_eq!(
        remove(one.admin(), "new", "if-match: \"v0\"\r\n")
            .head
            .status,
        412
    );
    let version = show(one.admin(), "new", "a").head;
    let expected = format!("if-match: {}\r\n", version.header("etag").expect("a tag"));
    assert_eq!(remove(one.admin(), "new", &expected).head.status, 204);
}

#[test]
fn invalid_flags_and_callers_without_the_token_are_refused() {
    let redis = Redis::start();
    let token = "a-token-of-24-characters";
    let service = instance(&redis, &[("ADMIN_TOKEN", token)]);
    let admin = service.admin();
    for (method, target) in [
        ("GET", "/admin/flags"),
        ("GET", "/admin/flags/orders-open"),
        ("PUT", "/admin/flags/orders-open"),
        ("DELETE", "/admin/flags/orders-open"),
    ] {
        for headers in ["", "authorization: Bearer another-token-of-24-char\r\n"] {
            let answer = send(admin, method, target, headers, "");
            assert_eq!(answer.head.status, 401, "{method} {target}");
        }
    }
    let known = format!("authorization: bearer {token}\r\n");
    for (key, flag, says) in [
        ("a", json!({ "enabled": true }), "missing field `rollout`"),
        ("a", rollout(101.0), "a rollout is 0 to 100"),
        (
            "a",
            json!({ "enabled": true, "rollout": 1, "x": 1 }),
            "unknown field `x`",
        ),
        ("A", rollout(1.0), "a key has 1 to 64"),
    ] {
        let answer = put(admin, key, &known, &flag);
        assert_eq!(answer.head.status, 422, "{flag}");
        let error = answer.json()["error"].to_string();
        assert!(error.contains(says), "{error}");
    }
    // As many tenants as there may be.
    let tenants: Vec<String> = (0..10_000)
        .map(|number| format!("tenant-{number:0>240}"))
        .collect();
    let flag = json!({ "enabled": true, "rollout": 0, "tenants": tenants, "denied": tenants });
    let answer = put(admin, "large", &known, &flag);
    assert_eq!(answer.head.status, 201, "{}", answer.text().len());
    let target = format!("/admin/flags/large?tenant={}", tenants[7]);
    let shown = send(admin, "GET", &target, &known, "").json();
    assert_eq!(shown["reason"], "denied");
    assert_eq!(redis.keys(), 2);
}

#[test]
fn start_without_redis_has_the_flags_of_the_cache_else_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[of-the-file]\nenabled = true\nrollout = 100\n";
    let of_file = file(&folder, "flags.toml", text);
    let cache = folder.path().join("cache.json");
    let shown = cache.to_str().expect("a path");
    let with = [("FLAGS_FILE", of_file.as_str()), ("FLAGS_CACHE", shown)];
    let mut redis = Redis::start();
    let source = |service: &Service| list(service.admin())["source"].clone();

    let service = instance(&redis, &with);
    assert_eq!(source(&service), "file", "Redis has none");
    let changed = put(service.admin(), "of-redis", "", &rollout(100.0));
    assert_eq!(changed.head.status, 201);
    assert_eq!(source(&service), "redis");
    // The first change brings those of the file with it.
    assert_eq!(value(service.admin(), "of-the-file", "a"), Some(true));
    wait_for("the cache", || {
        let text = std::fs::read_to_string(&cache).ok()?;
        text.contains("of-redis").then_some(())
    });
    service.signal(Signal::INT);
    service.ended().assert_clean();

    redis.kill();
    let start = || {
        let begun = Instant::now();
        let service = instance(&redis, &with);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        service
    };
    let service = start();
    assert_eq!(source(&service), "cache");
    assert_eq!(value(service.admin(), "of-redis", "a"), Some(true));
    assert_eq!(value(service.admin(), "of-the-file", "a"), Some(true));
    let refused = put(service.admin(), "of-redis", "", &rollout(1.0));
    assert_eq!(refused.head.status, 503);
    drop(service);

    std::fs::write(&cache, "rubbish").expect("written");
    let service = start();
    assert_eq!(source(&service), "file");
    assert_eq!(value(service.admin(), "of-redis", "a"), None);
    assert_eq!(value(service.admin(), "of-the-file", "a"), Some(true));
    service.logged("message", "the cache of flags cannot be read");
    assert!(!Path::new(&of_file).with_file_name("orders.db").exists());
}

#[test]
fn redis_that_hangs_holds_a_start_for_two_seconds() {
    let redis = Redis::start();
    assert_eq!(
        put(instance(&redis, &[]).admin(), "a", "", &rollout(100.0))
            .head
            .status,
        201
    );
    redis.hang();
    let begun = Instant::now();
    let service = instance(&redis, &[]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(list(service.admin())["source"], "file");
    redis.wake();
    wait_for("the flags of Redis", || value(service.admin(), "a", "x"));
}

#[test]
fn without_redis_the_flags_are_those_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[orders-open]\nenabled = true\nrollout = 100\ndenied = [\"{USER}\"]\n");
    let path = file(&folder, "flags.toml", &text);
    let service = Service::start_ready(&[("FLAGS_FILE", &path)]);
    assert_eq!(order_status(&service).0, 503);
    let changed = put(service.admin(), "orders-open", "", &rollout(100.0));
    assert_eq!(changed.head.status, 501);
    assert_eq!(metric(service.admin(), "flags"), 1.0);

    let wrong = file(
        &folder,
        "wrong.toml",
        "[a]\nenabled = true\nrollout = 101\n",
    );
    let (code, output) = refused(&[("FLAGS_FILE", &wrong)]);
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.contains("FLAGS_FILE=") && output.contains("line 3: "),
        "{output}"
    );
}
