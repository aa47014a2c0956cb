//! The service as a real Prometheus sees it: under load, through a drain, to its end.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    client::{self, Client},
    free_address,
    prometheus::{Prometheus, observability},
    service::Service,
    wait_for,
};

const NAME: &str = "job=\"full_service\"";

/// Runs `promtool` with these arguments and this input.
fn promtool(arguments: &[&str], input: &[u8]) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("read");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {printed}");
    if arguments.contains(&"metrics") {
        assert_eq!(printed, "", "nothing to complain about");
    }
}

#[test]
fn metrics_and_rules_pass_promtool() {
    let service = Service::start_ready(&[]);
    for path in ["/", "/nowhere", "/whoami"] {
        client::get(service.address, path).expect("an answer");
    }
    let scrape = client::get(service.admin(), "/metrics").expect("metrics");
    promtool(&["check", "metrics"], &scrape.body);
    let path = |name| observability(name).display().to_string();
    promtool(&["check", "config", &path("prometheus.yml")], b"");
    promtool(&["check", "rules", &path("alerts.yml")], b"");
    promtool(&["test", "rules", &path("alerts_test.yml")], b"");
}

#[test]
fn prometheus_records_a_drain_under_load() {
    // Prometheus starts first, so that it sees the service start.
    let admin = free_address();
    let prometheus = Prometheus::start("drain", admin);
    let service = Service::start(&[
        ("ADMIN_PORT", &admin.port().to_string()),
        ("STARTUP_DELAY", "2s"),
        ("LAME_DUCK", "1s"),
        ("DRAIN_TIMEOUT", "1s"),
        ("LAST_SCRAPE", "5s"),
        ("REQUEST_TIMEOUT", "off"),
        ("READ_HEADER_TIMEOUT", "500ms"),
        ("RATE_LIMIT", "40/h"),
        ("BODY_LIMIT", "10"),
    ]);
    // Every series exists from the first scrape on, at zero.
    prometheus.reaches("lameduck_phase{phase=\"starting\"}", 1.0);
    for name in [
        "lameduck_requests_cut_total",
        "lameduck_timeouts_total{kind=\"read_header\"}",
        "lameduck_refusals_total{reason=\"rate_limited\"}",
        "lameduck_connections{state=\"upgraded\"}",
    ] {
        assert_eq!(prometheus.value(name), Some(0.0), "{name}");
    }
    service.phase("ready");

    // 30 requests are served, one is too large, one client leaves before its answer, one never sends its head, one
    // request is in the handler for ever; then come those over the quota.
    let mut kept = Client::connect(service.address).expect("a connection");
    for _ in 0..30 {
        assert_eq!(kept.get("/").expect("an answer").head.status, 200);
    }
    let mut large = Client::connect(service.address).expect("a connection");
    large
        .send(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\n")
        .expect("sent");
    assert_eq!(large.response().expect("an answer").head.status, 413);
    let mut half = Client::connect(service.address).expect("a connection");
    half.send(b"GET / HTTP/1.1\r\n").expect("sent");
    let mut slow = Client::connect(service.address).expect("a connection");
    slow.send_get("/slow?ms=60000").expect("sent");
    let mut stream = Client::connect(service.address).expect("a connection");
    stream.send_get("/stream?n=1000&ms=20").expect("sent");
    assert_eq!(stream.head().expect("a head").status, 200);
    stream.chunk().expect("a chunk");
    drop(stream);
    let ok = "http_server_request_duration_seconds_count{http_route=\"/\", http_response_status_code=\"200\"}";
    prometheus.reaches(ok, 30.0);
    prometheus.reaches("lameduck_refusals_total{reason=\"body_too_large\"}", 1.0);
    prometheus.reaches("lameduck_timeouts_total{kind=\"read_header\"}", 1.0);
    prometheus.reaches(
        "http_server_request_duration_seconds_count{http_route=\"/stream\", error_type=\"499\"}",
        1.0,
    );
    prometheus.reaches("sum(http_server_active_requests)", 1.0);
    prometheus.reaches("lameduck_connections{state=\"handler\"}", 1.0);
    assert_eq!(half.response().expect("an answer").head.status, 408);
    let mut refused = 0.0;
    for _ in 0..20 {
        if kept.get("/").expect("an answer").head.status == 429 {
            refused += 1.0;
        }
    }
    assert!(refused > 0.0);
    prometheus.reaches("lameduck_refusals_total{reason=\"rate_limited\"}", refused);

    every_query_of_the_dashboard_gives_data(&prometheus);

    service.signal(Signal::TERM);
    prometheus.reaches("lameduck_phase{phase=\"lame_duck\"}", 1.0);
    prometheus.reaches("lameduck_phase{phase=\"draining\"}", 1.0);
    let ended = service.ended();
    assert_eq!(ended.status.code(), Some(1), "something was cut");

    // These are the last scraped values: the process is gone.
    let last = |name: &str| prometheus.value(&format!("last_over_time({name}[1m])"));
    assert_eq!(last("lameduck_requests_cut_total"), Some(1.0));
    assert_eq!(last("lameduck_connections{state=\"handler\"}"), Some(0.0));
    assert_eq!(last(ok).map(|served| served + refused), Some(50.0));
    let drain = last("lameduck_drain_duration_seconds").expect("a drain");
    assert!((1.0..2.0).contains(&drain), "{drain}");
    for phase in ["starting", "ready", "lame_duck", "draining"] {
        let seen = format!("max_over_time(lameduck_phase{{phase=\"{phase}\"}}[1m])");
        assert_eq!(prometheus.value(&seen), Some(1.0), "{phase}");
    }
    // The alert fires.
    wait_for("the alert", || {
        let firing = format!("ALERTS{{alertname=\"RequestsCut\", {NAME}}}");
        let alerts = prometheus.query(&format!("max_over_time({firing}[1m])"));
        (!alerts.is_empty()).then_some(())
    });
}

/// Asserts that every query of the dashboard returns data, while a client sends requests for the rates.
fn every_query_of_the_dashboard_gives_data(prometheus: &Prometheus) {
    let text = std::fs::read_to_string(observability("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            queries.push(
                query
                    .replace("$__rate_interval", "30s")
                    .replace("$job", "full_service")
                    .replace("$instance", ".*"),
            );
        }
    }
    assert!(queries.len() > 20, "{}", queries.len());
    for query in queries {
        assert!(!query.contains('$'), "{query}");
        wait_for(&query, || {
            (!prometheus.query(&query).is_empty()).then_some(())
        });
    }
}

#[test]
fn slow_scraper_does_not_delay_the_exit() {
    let service = Service::start_ready(&[("LAME_DUCK", "50ms"), ("LAST_SCRAPE", "300ms")]);
    let scrape = client::get(service.admin(), "/metrics").expect("metrics");
    assert_eq!(scrape.head.status, 200);
    service.signal(Signal::TERM);
    let begun = std::time::Instant::now();
    // No scrape comes any more: the service waits for its 300 ms, and no longer.
    let ended = service.ended();
    assert!(begun.elapsed() > Duration::from_millis(300));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(ended.logged("message", "shutdown report").is_some());
}
