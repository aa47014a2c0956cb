//! The operators' view: health, the status page, log lines, and the exit code of a health check.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    client::{self, Client},
    postgres::Database,
    redis::Redis,
    service::{Service, command, refused},
    wait_for,
};

#[test]
fn admin_port_shows_details_and_serves_to_the_end() {
    let mut redis = Redis::start();
    let service = Service::start_ready(&[
        ("REDIS_URL", &redis.url),
        ("LAME_DUCK", "50ms"),
        ("DRAIN_TIMEOUT", "10s"),
    ]);
    assert_eq!(
        client::get(service.address, "/")
            .expect("an answer")
            .head
            .status,
        200
    );
    let ready = client::get(service.admin(), "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 200);
    for (number, name) in ["database", "redis"].into_iter().enumerate() {
        let component = &ready.json()["components"][number];
        assert_eq!(
            (&component["name"], &component["status"]),
            (&name.into(), &"pass".into())
        );
    }
    redis.kill();
    wait_for("Redis to be missed", || {
        client::get(service.address, "/").ok()?;
        let ready = client::get(service.admin(), "/readyz").ok()?;
        assert_eq!(ready.head.status, 200, "it can do without");
        (ready.json()["components"][1]["status"] == "warn").then_some(())
    });
    let page = client::get(service.admin(), "/").expect("a page");
    assert_eq!(page.head.status, 200);
    assert!(
        page.text().starts_with("<!doctype html>") || page.text().starts_with("<!DOCTYPE html>")
    );

    let mut held = Client::connect(service.address).expect("a connection");
    held.send_get("/slow?ms=2000").expect("sent");
    wait_for("the request", || {
        let seen = client::get(service.admin(), "/snapshot").ok()?.json();
        (seen["in_flight"]["requests"][0]["route"] == "/slow").then_some(())
    });
    service.signal(Signal::TERM);
    wait_for("the drain", || {
        let seen = client::get(service.admin(), "/snapshot").ok()?.json();
        (seen["phase"] == "draining").then_some(())
    });
    let ready = client::get(service.admin(), "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 503);
    let scrape = client::get(service.admin(), "/metrics").expect("metrics");
    assert!(
        scrape
            .text()
            .contains("lameduck_phase{phase=\"draining\"} 1\n")
    );
    assert_eq!(held.response().expect("an answer").head.status, 200);
    service.ended().assert_clean();
}

#[test]
fn scrape_shows_the_queue_of_all_instances() {
    let database = Database::create();
    let environment = [
        ("DATABASE_URL", &*database.url),
        ("MIGRATE", "apply"),
        ("JOBS", "0"),
    ];
    let first = Service::start_ready(&environment);
    wait_for("the empty queue", || {
        let scrape = client::get(first.admin(), "/metrics").ok()?;
        let text = scrape.text();
        let seen = text.contains("jobs{state=\"dead\"} 0\n");
        (seen && text.contains("jobs_wait_seconds 0.0\n")).then_some(())
    });
    drop(first);
    let job =
        "(id, kind, payload, state, run_at, created_at) SELECT gen_random_uuid(), 'test', '{}'";
    database.ask(&format!(
        "INSERT INTO jobs {job}, 'dead', now(), now() FROM generate_series(1, 2);
         INSERT INTO jobs {job}, 'queued', now() - interval '90 s', now() FROM generate_series(1, 3);
         INSERT INTO jobs {job}, 'queued', now() + interval '1 h', now()"
    ));
    let service = Service::start_ready(&environment);
    let waits = wait_for("the queue", || {
        let scrape = client::get(service.admin(), "/metrics").ok()?;
        let text = scrape.text();
        for line in ["jobs{state=\"queued\"} 4", "jobs{state=\"running\"} 0"] {
            text.lines().find(|is| *is == line)?;
        }
        text.lines().find(|is| *is == "jobs{state=\"dead\"} 2")?;
        let waits = text
            .lines()
            .find_map(|line| line.strip_prefix("jobs_wait_seconds "))?;
        waits.parse::<f64>().ok()
    });
    assert!((90.0..120.0).contains(&waits), "{waits}");
}

#[test]
fn each_request_has_one_log_line_with_its_id() {
    let service = Service::start_ready(&[("TRUSTED_PROXIES", "loopback")]);
    let mut client = Client::connect(service.address).expect("a connection");
    client
        .send(
            b"GET /whoami?secret=1 HTTP/1.1\r\nhost: test\r\nx-request-id: an-id\r\n\
              x-forwarded-for: 203.0.113.7\r\n\r\n",
        )
        .expect("sent");
    let answer = client.response().expect("an answer");
    assert_eq!(answer.head.header("x-request-id"), Some("an-id"));
    let made = client.get("/nowhere").expect("an answer");
    let made = made.head.header("x-request-id").expect("an id").to_owned();

    let line = service.logged("request_id", "an-id");
    assert_eq!(
        [
            &line["method"],
            &line["path"],
            &line["route"],
            &line["client"],
            &line["end"]
        ],
        ["GET", "/whoami", "/whoami", "203.0.113.7", "complete"]
            .map(|text| json!(text))
            .each_ref()
    );
    assert_eq!(
        (&line["status"], &line["target"]),
        (&json!(200), &json!("lameduck::access"))
    );
    let line = service.logged("request_id", &made);
    assert_eq!(
        (&line["status"], &line["route"]),
        (&json!(404), &Value::Null)
    );
}

#[test]
fn probes_are_neither_logged_nor_measured() {
    let service = Service::start_ready(&[]);
    client::get(service.address, "/healthz").expect("an answer");
    client::get(service.address, "/").expect("an answer");
    service.logged("path", "/");
    let scrape = client::get(service.admin(), "/metrics").expect("metrics");
    assert!(!scrape.text().contains("healthz"));
    service.signal(Signal::INT);
    assert!(service.ended().logged("path", "/healthz").is_none());
}

/// Returns the exit code of `full_service --healthcheck` with these arguments.
fn healthcheck(service: &Service, arguments: &[&str]) -> (Option<i32>, String) {
    let port = service.address.port().to_string();
    let output = command(&[("PORT", &port)])
        .arg("--healthcheck")
        .args(arguments)
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn healthcheck_command_probes_its_own_service() {
    let service = Service::start(&[("STARTUP_DELAY", "1s")]);
    assert_eq!(healthcheck(&service, &[]).0, Some(0), "alive");
    let (code, stderr) = healthcheck(&service, &["/readyz"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("503") && stderr.contains("starting"),
        "{stderr}"
    );
    service.phase("ready");
    assert_eq!(healthcheck(&service, &["/readyz"]).0, Some(0));
    assert_eq!(healthcheck(&service, &["/readyz", "more"]).0, Some(2));
}

#[test]
fn taken_admin_port_is_an_error_and_off_disables_it() {
    let service = Service::start(&[("ADMIN_PORT", "off"), ("LAME_DUCK", "off")]);
    let port = service.address.port().to_string();
    let (code, stderr) = refused(&[("PORT", "0"), ("ADMIN_PORT", &port)]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&port), "{stderr}");
    service.signal(Signal::INT);
    let (ended, took) = crate::support::service::timed(|| service.ended());
    ended.assert_clean();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn web_pages_cannot_read_the_admin_port() {
    let service = Service::start_ready(&[]);
    for path in ["/", "/snapshot", "/metrics"] {
        for (header, status) in [
            ("host: evil.example", 421),
            ("host: a\r\nsec-fetch-site: cross-site", 403),
            ("host: localhost:8081", 200),
            ("host: shop:8081", 200),
        ] {
            let mut client = Client::connect(service.admin()).expect("a connection");
            let request = format!("GET {path} HTTP/1.1\r\n{header}\r\n\r\n");
            client.send(request.as_bytes()).expect("sent");
            let head = client.response().expect("an answer").head;
            assert_eq!(head.status, status, "{path} {header:?}");
            let policy = head.header("cross-origin-resource-policy");
            assert_eq!(policy, Some("same-origin"), "{path} {header:?}");
        }
    }
}
