use super::listener::Listener;
use super::meter::{Measured, Meter};
use super::text_tests::Nested;
use super::written::Written;
use crate::conn_info::ClientIpSource;
use crate::events::{CloseReason, Event, RequestInfo, TimeoutKind};
use crate::phase::Phase;
use crate::reply::RefusalReason;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tracing::Level;
use tracing::level_filters::LevelFilter;

fn peer() -> Option<SocketAddr> {
    Some("192.0.2.1:4711".parse().unwrap())
}

fn refused(reason: RefusalReason) -> Event<'static> {
    Event::Refused {
        reason,
        request: RequestInfo::default(),
    }
}

fn address(source: ClientIpSource) -> Event<'static> {
    Event::ClientAddress {
        source,
        peer: Some("10.0.0.7".parse().unwrap()),
        header: &http::header::FORWARDED,
    }
}

/// Returns the line of this event as documented: its level and all fields except the message.
fn line_of(event: &Event<'_>) -> Value {
    let (written, _guard) = Written::json(Level::TRACE);
    Listener::new(10).write(event, || 0);
    let mut lines = written.take_json();
    assert_eq!(lines.len(), 1, "{event}");
    let mut line = lines.remove(0);
    let fields = line.as_object_mut().unwrap();
    assert_eq!(fields.remove("target"), Some(json!("lameduck")));
    assert!(fields.remove("message").unwrap().is_string());
    line
}

#[test]
fn names_and_fields_are_the_documented_ones() {
    let broken = Nested("no answer", Some(Box::new(Nested("reset", None))));
    let accept = std::io::Error::other("too many files");
    let (peer, age) = (peer(), Duration::from_millis(1500));
    let mut request = RequestInfo::from_peer(peer);
    request.method = Some("GET");
    request.path = Some("/slow");
    request.route = Some("/{what}");
    request.client = Some("203.0.113.9".parse().unwrap());
    request.request_id = Some("7");
    let expected = [
        (
            Event::Phase(Phase::LameDuck),
            json!({"level": "INFO", "event": "phase", "phase": "lame_duck"}),
        ),
        (
            Event::Cut {
                request,
                state: "in the handler",
                age,
            },
            json!({
                "level": "WARN", "event": "cut", "state": "in the handler", "age_ms": 1500, "method": "GET",
                "path": "/slow", "route": "/{what}", "client": "203.0.113.9", "peer": "192.0.2.1:4711",
                "request_id": "7",
            }),
        ),
        (
            Event::Drained { took: age, cut: 2 },
            json!({"level": "INFO", "event": "drained", "took_ms": 1500, "cut": 2}),
        ),
        (
            Event::Signal {
                signal: "SIGINT",
                effect: "drain",
                in_flight: 1,
            },
            json!({"level": "INFO", "event": "signal", "signal": "SIGINT", "effect": "drain", "in_flight": 1}),
        ),
        (
            Event::Readiness {
                ready: false,
                failed: "",
            },
            json!({"level": "INFO", "event": "readiness", "ready": false}),
        ),
        (
            Event::Readiness {
                ready: false,
                failed: "database: refused\nforged",
            },
            json!({"level": "WARN", "event": "readiness", "ready": false, "failed": "database: refused forged"}),
        ),
        (
            Event::ServiceError {
                error: &broken,
                request: RequestInfo::default(),
            },
            json!({"level": "ERROR", "event": "service_error", "error": "no answer: reset"}),
        ),
        (
            Event::AcceptError {
                error: &accept,
                pause: Some(age),
            },
            json!({"level": "WARN", "event": "accept_error", "error": "too many files", "pause_ms": 1500}),
        ),
        (
            Event::AcceptError {
                error: &accept,
                pause: None,
            },
            json!({"level": "WARN", "event": "accept_error", "error": "too many files"}),
        ),
        (
            Event::RateLimitFallback { error: &broken },
            json!({"level": "WARN", "event": "rate_limit_fallback", "error": "no answer: reset"}),
        ),
        (
            Event::RateLimitRestored,
            json!({"level": "INFO", "event": "rate_limit_restored"}),
        ),
        (
            Event::RateLimitFull,
            json!({"level": "WARN", "event": "rate_limit_full"}),
        ),
        (
            refused(RefusalReason::Draining),
            json!({"level": "INFO", "event": "refused", "reason": "draining", "status": 503}),
        ),
        (
            refused(RefusalReason::RateLimited),
            json!({"level": "DEBUG", "event": "refused", "reason": "rate_limited", "status": 429}),
        ),
        (
            Event::Timeout {
                kind: TimeoutKind::ReadHeader,
                request: RequestInfo::from_peer(None),
            },
            json!({"level": "DEBUG", "event": "timeout", "kind": "read_header"}),
        ),
        (
            address(ClientIpSource::TooFew),
            json!({"level": "DEBUG", "event": "client_address", "source": "too_few"}),
        ),
        (
            address(ClientIpSource::Ignored),
            json!({
                "level": "WARN", "event": "client_address", "source": "ignored",
                "header": "forwarded", "peer": "10.0.0.7", "network": "10.0.0.0/8"
            }),
        ),
        (
            Event::ClientGone {
                request: RequestInfo::from_peer(peer),
                age: Duration::from_millis(70),
            },
            json!({
                "level": "DEBUG", "event": "client_gone", "age_ms": 70, "peer": "192.0.2.1:4711"
            }),
        ),
        (
            Event::MalformedGrpcTimeout,
            json!({"level": "DEBUG", "event": "grpc_timeout_malformed"}),
        ),
        (
            Event::Opened { peer },
            json!({"level": "TRACE", "event": "opened", "peer": "192.0.2.1:4711"}),
        ),
        (
            Event::Closed {
                peer,
                why: CloseReason::Timeout(TimeoutKind::Idle),
            },
            json!({"level": "TRACE", "event": "closed", "why": "idle", "peer": "192.0.2.1:4711"}),
        ),
    ];
    for (event, line) in expected {
        assert_eq!(line_of(&event), line);
    }
}

#[test]
fn every_reason_timeout_and_flagged_source_is_bounded() {
    for &reason in RefusalReason::ALL {
        assert_eq!(line_of(&refused(reason))["reason"], reason.as_str());
    }
    for &kind in TimeoutKind::ALL {
        let line = line_of(&Event::Timeout {
            kind,
            request: RequestInfo::from_peer(None),
        });
        assert_eq!(line["kind"], kind.as_str());
    }
    for &source in ClientIpSource::ALL
        .iter()
        .filter(|source| source.is_flagged())
    {
        let line = line_of(&address(source));
        assert_eq!(line["source"], source.as_str());
    }
}

#[test]
fn an_ignored_proxy_is_warned_of_once_with_the_mend() {
    let listener = Listener::new(10);
    let see = |peer: &str| {
        let event = Event::ClientAddress {
            source: ClientIpSource::Ignored,
            peer: Some(peer.parse().unwrap()),
            header: &http::header::FORWARDED,
        };
        listener.write(&event, || 0);
    };
    {
        let (written, _guard) = Written::text(Level::ERROR);
        see("10.0.0.7");
        assert_eq!(written.take(), "");
    }
    let (written, _guard) = Written::json(Level::TRACE);
    for peer in ["10.0.0.7", "203.0.113.9", "10.0.0.7"] {
        see(peer);
    }
    let lines = written.take_json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let message = "forwarded from 10.0.0.7 is ignored: if that is your proxy, \
                   trust it by trusted_proxies(\"10.0.0.0/8\")";
    assert_eq!(lines[0]["message"], message);
}

#[test]
fn an_unflagged_client_is_not_logged() {
    let (written, _guard) = Written::text(Level::TRACE);
    let source = ClientIpSource::Forwarded;
    Listener::new(10).write(&address(source), || 0);
    assert_eq!(written.take(), "");
}

#[test]
fn a_flood_is_bounded_for_each_kind_and_counted() {
    let (written, _guard) = Written::json(Level::DEBUG);
    let listener = Listener::new(3);
    for _ in 0..1000 {
        listener.write(&refused(RefusalReason::RateLimited), || 7);
    }
    listener.write(&refused(RefusalReason::Draining), || 7);
    let lines = written.take_json();
    let of = |reason| lines.iter().filter(|line| line["reason"] == reason).count();
    assert_eq!((of("rate_limited"), of("draining"), lines.len()), (3, 1, 4));

    // After a quiet period the next line reports the earlier omissions.
    listener.write(&refused(RefusalReason::RateLimited), || 60);
    let lines = written.take_json();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["event"], "left_out");
    assert_eq!(lines[0]["level"], "DEBUG");
    assert_eq!(lines[0]["of"], "refused");
    assert_eq!(lines[0]["name"], "rate_limited");
    assert_eq!(lines[0]["lines"], 997);
    assert_eq!(lines[1]["event"], "refused");

    listener.write(&refused(RefusalReason::RateLimited), || 61);
    assert_eq!(written.take_json().len(), 1, "it was reported once");
}

#[test]
fn a_change_of_phase_reports_omissions_once() {
    let (written, _guard) = Written::json(Level::INFO);
    let listener = Listener::new(1);
    for _ in 0..5 {
        listener.write(&Event::RateLimitFull, || 7);
    }
    written.take();
    listener.write(&Event::Phase(Phase::Draining), || 7);
    let lines = written.take_json();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["of"], "rate_limit_full");
    assert_eq!(lines[0].get("name"), None);
    assert_eq!(lines[0]["lines"], 4);
    assert_eq!(lines[1]["event"], "phase");

    listener.write(&Event::RateLimitFull, || 7);
    assert_eq!(written.take(), "", "the second is still full");
    listener.write(&Event::Phase(Phase::Closed), || 8);
    assert_eq!(written.take_json()[0]["lines"], 1);
}

#[test]
fn zero_lines_per_second_leaves_only_the_counts() {
    let (written, _guard) = Written::json(Level::INFO);
    let listener = Listener::new(0);
    for second in [1, 1, 1, 2, 3] {
        listener.write(&Event::RateLimitFull, || second);
    }
    let counts: Vec<_> = written
        .take_json()
        .iter()
        .map(|line| line["lines"].clone())
        .collect();
    assert_eq!(counts, [3, 1]);
}

#[test]
fn unwanted_lines_are_not_counted() {
    let (written, _guard) = Written::text(Level::INFO);
    let listener = Listener::new(1);
    // The clock is read only for lines that a subscriber in this process may want.
    let clock = || {
        assert!(LevelFilter::current() > LevelFilter::INFO);
        0
    };
    listener.write(&refused(RefusalReason::RateLimited), clock);
    let kind = TimeoutKind::Idle;
    listener.write(
        &Event::Timeout {
            kind,
            request: RequestInfo::from_peer(None),
        },
        clock,
    );
    assert_eq!(written.take(), "");
}

#[test]
fn a_meter_counts_exactly_under_contention() {
    let meter = Meter::default();
    let (mut written, mut left_out) = (0, 0);
    std::thread::scope(|scope| {
        let count = || {
            let (mut written, mut left_out) = (0, 0);
            for each in 0..40_000 {
                let measured = meter.count(each / 1000, 5);
                written += u32::from(measured.write);
                left_out += measured.left_out;
            }
            (written, left_out)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        for thread in threads {
            let (wrote, left) = thread.join().unwrap();
            written += wrote;
            left_out += left;
        }
    });
    left_out += meter.settle(5);
    assert_eq!(written + left_out, 160_000, "each is written or counted");
    assert!(written <= 40 * 5, "{written}");
}

#[test]
fn a_lagging_clock_does_not_return_to_an_earlier_second() {
    let meter = Meter::default();
    let of = |write, left_out| Measured { write, left_out };
    assert_eq!(meter.count(5, 1), of(true, 0));
    assert_eq!(meter.count(4, 1), of(false, 0));
    assert_eq!(meter.count(6, 1), of(true, 1));
}
