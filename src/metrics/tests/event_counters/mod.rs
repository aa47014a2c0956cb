mod handles;

use super::*;
use crate::events::{CloseReason, Event, RequestInfo, TimeoutKind};
use crate::in_flight::InFlightLayer;
use crate::reply::RefusalReason;
use crate::{ClientIpSource, Lifecycle, Phase};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Returns the size of a family of counters, with one sample per value of its label.
fn counters(name: &str) -> usize {
    match name {
        "lameduck_connections_closed_total" => CloseReason::ALL.len(),
        "lameduck_timeouts_total" => TimeoutKind::ALL.len(),
        "lameduck_refusals_total" => RefusalReason::ALL.len(),
        "lameduck_client_address_total" => ClientIpSource::ALL.len(),
        _ => 1,
    }
}

const COUNTERS: [&str; 15] = [
    "lameduck_connections_accepted_total",
    "lameduck_connections_closed_total",
    "lameduck_timeouts_total",
    "lameduck_refusals_total",
    "lameduck_client_address_total",
    "lameduck_requests_cut_total",
    "lameduck_clients_gone_total",
    "lameduck_service_errors_total",
    "lameduck_accept_errors_total",
    "lameduck_readiness_changes_total",
    "lameduck_grpc_timeout_malformed_total",
    "lameduck_rate_limit_full_total",
    "lameduck_rate_limit_fallbacks_total",
    "lameduck_rate_limit_restored_total",
    "lameduck_metrics_series_folded_total",
];

#[test]
fn counters_of_events_are_absent_until_something_is_wired() {
    let metrics = Metrics::new();
    let unwired = scrape(&metrics);
    for name in [
        "lameduck_refusals_total",
        "lameduck_phase",
        "lameduck_drain",
    ] {
        assert!(!unwired.contains(name), "{name}");
    }
    let lifecycle = Lifecycle::new();
    let sink = lifecycle.event_sink();
    metrics.lifecycle(&lifecycle);
    // Passed in a second place too: each event is counted once.
    lifecycle.listen(metrics.event_sink());
    sink.emit(|| Event::Opened { peer: None });
    let wired = scrape(&metrics);
    assert_eq!(
        value(&wired, "lameduck_connections_accepted_total", &[]),
        1.0
    );
    assert!(wired.contains("lameduck_refusals_total"));
}

#[test]
fn the_first_scrape_is_complete() {
    let metrics = Metrics::new();
    metrics.lifecycle(&Lifecycle::new());
    let scrape = scrape(&metrics);
    for name in COUNTERS {
        assert_eq!(samples(&scrape, name), counters(name), "{name}");
        let zero = |line: &&str| line.starts_with(name) && line.ends_with(" 0");
        assert_eq!(
            scrape.lines().filter(zero).count(),
            counters(name),
            "{name}"
        );
        assert!(
            scrape.contains(&format!("# TYPE {name} counter\n")),
            "{name}"
        );
    }
    assert_eq!(samples(&scrape, "lameduck_phase"), 5);
    assert_eq!(value(&scrape, "lameduck_phase", &["\"starting\""]), 1.0);
    assert_eq!(value(&scrape, "lameduck_drain_duration_seconds", &[]), 0.0);
    assert_eq!(samples(&scrape, "http_server_active_requests"), 11);
    for histogram in [
        "http_server_request_duration_seconds",
        "http_server_request_body_size_bytes",
        "http_server_response_body_size_bytes",
        "lameduck_http_time_to_head_seconds",
    ] {
        let described = format!("# TYPE {histogram} histogram\n");
        assert!(scrape.contains(&described), "{histogram}");
    }
    // Every described family has samples, and none is described twice.
    let described: Vec<_> = scrape
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .collect();
    let mut once = described.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), described.len());
}

#[test]
fn every_event_is_counted() {
    let metrics = Metrics::new();
    let events = metrics.event_sink();
    let error = io::Error::other("it");
    let events_by_metric: [(Event<'_>, &str, &str); 14] = [
        (Event::Opened { peer: None }, "connections_accepted", ""),
        (
            Event::Closed {
                peer: None,
                why: CloseReason::Drained,
            },
            "connections_closed",
            "\"drained\"",
        ),
        (
            Event::Closed {
                peer: None,
                why: CloseReason::Timeout(TimeoutKind::Idle),
            },
            "connections_closed",
            "\"idle\"",
        ),
        (
            Event::Timeout {
                kind: TimeoutKind::WriteStall,
                request: RequestInfo::from_peer(None),
            },
            "timeouts",
            "\"write_stall\"",
        ),
        (
            Event::Refused {
                reason: RefusalReason::RateLimited,
                request: RequestInfo::default(),
            },
            "refusals",
            "\"rate_limited\"",
        ),
        (
            Event::ClientAddress {
                source: ClientIpSource::TooFew,
                peer: None,
                header: &http::header::FORWARDED,
            },
            "client_address",
            "\"too_few\"",
        ),
        (
            Event::ClientGone {
                request: RequestInfo::default(),
                age: Duration::ZERO,
            },
            "clients_gone",
            "",
        ),
        (Event::MalformedGrpcTimeout, "grpc_timeout_malformed", ""),
        (Event::RateLimitFull, "rate_limit_full", ""),
        (
            Event::RateLimitFallback { error: &error },
            "rate_limit_fallbacks",
            "",
        ),
        (Event::RateLimitRestored, "rate_limit_restored", ""),
        (
            Event::ServiceError {
                error: &error,
                request: RequestInfo::default(),
            },
            "service_errors",
            "",
        ),
        (
            Event::Readiness {
                ready: true,
                failed: "",
            },
            "readiness_changes",
            "",
        ),
        (
            Event::AcceptError {
                error: &error,
                pause: None,
            },
            "accept_errors",
            "",
        ),
    ];
    for (times, (event, ..)) in events_by_metric.iter().enumerate() {
        (0..=times).for_each(|_| events.emit(|| event.clone()));
    }
    events.emit(|| Event::Cut {
        request: get_of("/", None),
        state: "in the handler",
        age: Duration::ZERO,
    });
    let scrape = scrape(&metrics);
    for (times, (event, name, label)) in events_by_metric.iter().enumerate() {
        let name = format!("lameduck_{name}_total");
        let count = value(&scrape, &name, &[label]);
        assert_eq!(count, (times + 1) as f64, "{event}");
    }
    assert_eq!(value(&scrape, "lameduck_requests_cut_total", &[]), 1.0);
    let total: f64 = COUNTERS
        .iter()
        .flat_map(|name| {
            scrape
                .lines()
                .filter(move |line| line.split(['{', ' ']).next() == Some(name))
        })
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(total, 106.0, "each once, and nothing else");
}

#[test]
fn each_value_of_a_label_counts_as_itself() {
    let metrics = Metrics::new();
    let events = metrics.event_sink();
    let kinds = [
        TimeoutKind::ReadHeader,
        TimeoutKind::Read,
        TimeoutKind::Write,
        TimeoutKind::Idle,
        TimeoutKind::ReadStall,
        TimeoutKind::WriteStall,
        TimeoutKind::ResponseHead,
        TimeoutKind::MinReadRate,
        TimeoutKind::MinWriteRate,
    ];
    for kind in kinds {
        events.emit(|| Event::Timeout {
            kind,
            request: RequestInfo::from_peer(None),
        });
        let one = value(
            &scrape(&metrics),
            "lameduck_timeouts_total",
            &[&format!("{:?}", kind.as_str())],
        );
        assert_eq!(one, 1.0, "{kind}");
    }
    for why in [
        CloseReason::Ended,
        CloseReason::Error,
        CloseReason::Cut,
        CloseReason::ClientGone,
        CloseReason::Timeout(TimeoutKind::Read),
    ] {
        events.emit(|| Event::Closed { peer: None, why });
        let label = format!("{:?}", why.as_str());
        let one = value(
            &scrape(&metrics),
            "lameduck_connections_closed_total",
            &[&label],
        );
        assert_eq!(one, 1.0, "{why:?}");
    }
}

fn phases(scrape: &str) -> String {
    let phases = ["starting", "ready", "lame_duck", "draining", "closed"];
    let now: Vec<_> = phases
        .into_iter()
        .filter(|phase| value(scrape, "lameduck_phase", &[&format!("phase={phase:?}")]) == 1.0)
        .collect();
    now.join(" ")
}

#[test]
fn the_phase_and_the_drains_duration_of_a_lifecycle() {
    let metrics = Metrics::new();
    let lifecycle = Lifecycle::new();
    metrics.lifecycle(&lifecycle);
    for phase in [Phase::Ready, Phase::LameDuck] {
        lifecycle.advance(phase);
        let scrape = scrape(&metrics);
        assert_eq!(phases(&scrape), phase.as_str());
        assert_eq!(value(&scrape, "lameduck_drain_duration_seconds", &[]), 0.0);
    }
    follow_drain(&metrics, |phase| assert!(lifecycle.advance(phase)));
}

#[test]
fn phase_and_drain_duration_follow_the_events() {
    let metrics = Metrics::new();
    let events = metrics.event_sink();
    follow_drain(&metrics, |phase| events.emit(|| Event::Phase(phase)));
}

fn follow_drain(metrics: &Metrics, to: impl Fn(Phase)) {
    let so_far = || value(&scrape(metrics), "lameduck_drain_duration_seconds", &[]);
    to(Phase::Draining);
    std::thread::sleep(Duration::from_millis(5));
    let first = so_far();
    assert!(first >= 0.005, "{first}");
    std::thread::sleep(Duration::from_millis(5));
    assert!(so_far() >= first + 0.005, "it goes on");
    assert_eq!(phases(&scrape(metrics)), "draining");
    to(Phase::Closed);
    let last = so_far();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(so_far(), last, "it is over");
    assert_eq!(phases(&scrape(metrics)), "closed");
}

/// Returns a GET of this path from this peer.
fn get_of(path: &str, peer: Option<SocketAddr>) -> RequestInfo<'_> {
    let mut request = RequestInfo::from_peer(peer);
    request.method = Some("GET");
    request.path = Some(path);
    request
}
