use super::*;

#[tokio::test(start_paused = true)]
async fn an_attack_cannot_flush_the_list() {
    let (_, page) = page();
    let events = page.event_sink();
    let cut = Event::Cut {
        request: get_of("/slow", PEER),
        state: "in the handler",
        age: Duration::from_secs(3),
    };
    events.emit(|| cut.clone());
    // Two events alternate for ten minutes, each time from another peer, and the errors have a different text each
    // time.
    for round in 0..6_000u32 {
        let peer = Some(SocketAddr::from((round.to_be_bytes(), 1)));
        let error = std::io::Error::other(format!("{round} {}", "ä".repeat(500)));
        events.emit(|| Event::Timeout {
            kind: TimeoutKind::ReadHeader,
            request: RequestInfo::from_peer(peer),
        });
        events.emit(|| Event::Refused {
            reason: RefusalReason::HeadTooSlow,
            request: RequestInfo::default(),
        });
        events.emit(|| Event::ServiceError {
            error: &error,
            request: RequestInfo::default(),
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), 4, "{list:?}");
    assert_eq!(list[3]["detail"], "GET /slow");
    assert_eq!(list[3]["peer"], "127.0.0.1:4321");
    let timeout = &list[2];
    assert_eq!(
        (&timeout["what"], &timeout["count"]),
        (&json!("read_header"), &json!(6000))
    );
    assert_eq!(timeout["peer"], "0.0.23.111:1", "the last one");
    assert!(timeout["first_ms"].as_u64() > Some(599_000) && timeout["last_ms"] == 100);
    let detail = list[0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("5999 ä") && detail.len() < 210,
        "{detail}"
    );
    let counters = shown["counters"].as_array().unwrap();
    assert!(counters.contains(&json!({"kind": "refused", "what": "head_too_slow", "count": 6000})));
    assert!(counters.contains(&json!({"kind": "cut", "what": "request", "count": 1})));
}

/// An error that emits an event while it is formatted.
#[derive(Debug)]
struct Talkative(crate::events::EventSink);

impl std::fmt::Display for Talkative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.emit(|| Event::RateLimitFull);
        f.write_str("talkative")
    }
}

impl Error for Talkative {}

#[test]
fn an_error_that_emits_while_it_is_formatted_blocks_no_one() {
    let (done, was_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (_, page) = page();
        let events = page.event_sink();
        let error = Talkative(events.clone());
        events.emit(|| Event::ServiceError {
            error: &error,
            request: RequestInfo::default(),
        });
        done.send(page.shared.recent_events.log().list.len())
            .unwrap();
    });
    assert_eq!(was_done.recv_timeout(Duration::from_secs(5)), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_periodic_event_cannot_flush_the_list() {
    let (_, page) = page();
    let events = page.event_sink();
    let error = std::io::Error::other("the one that matters");
    events.emit(|| Event::Phase(Phase::Ready));
    events.emit(|| Event::ServiceError {
        error: &error,
        request: RequestInfo::default(),
    });
    // Idle connections do this in every quiet hour.
    for _ in 0..1_000 {
        for kind in [TimeoutKind::Idle, TimeoutKind::ReadHeader] {
            events.emit(|| Event::Timeout {
                kind,
                request: RequestInfo::from_peer(PEER),
            });
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), CAPACITY);
    let whats: Vec<_> = list
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats[98..], ["service", "ready"]);
    assert_eq!(whats[..2], ["read_header", "idle"]);
    assert_eq!(list[97]["last_ms"], 98_000);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_bounded_and_the_latest_comes_first() {
    let (_, page) = page();
    let events = page.event_sink();
    for number in 0..250 {
        let path = format!("/{number}");
        events.emit(|| Event::Cut {
            request: get_of(&path, None),
            state: "in the handler",
            age: Duration::ZERO,
        });
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), CAPACITY);
    assert_eq!(
        (&list[0]["detail"], &list[99]["detail"]),
        (&json!("GET /249"), &json!("GET /150"))
    );
    // After a second a repetition is another entry.
    for _ in 0..2 {
        events.emit(|| Event::RateLimitFull);
        tokio::time::sleep(Duration::from_millis(1001)).await;
    }
    let shown = snapshot(&page).await;
    assert_eq!(
        (&shown["events"][0]["count"], &shown["events"][1]["what"]),
        (&json!(1), &json!("full"))
    );
}

#[tokio::test]
async fn every_event_is_counted_by_kind() {
    let (_, page) = page();
    let events = page.event_sink();
    let io = std::io::Error::other("no more");
    let error: &(dyn Error + 'static) = &io;
    let all = [
        Event::Phase(Phase::Ready),
        Event::Drained {
            took: Duration::from_millis(1500),
            cut: 0,
        },
        Event::Readiness {
            ready: true,
            failed: "",
        },
        Event::Timeout {
            kind: TimeoutKind::Write,
            request: RequestInfo::from_peer(PEER),
        },
        Event::Refused {
            reason: RefusalReason::Draining,
            request: RequestInfo::default(),
        },
        Event::MalformedGrpcTimeout,
        Event::RateLimitFull,
        Event::RateLimitFallback { error },
        Event::RateLimitRestored,
        Event::ServiceError {
            error,
            request: RequestInfo::default(),
        },
        Event::ClientGone {
            request: RequestInfo::default(),
            age: Duration::ZERO,
        },
        Event::AcceptError {
            error: &io,
            pause: None,
        },
        Event::AcceptError {
            error: &io,
            pause: Some(Duration::from_millis(5)),
        },
        Event::Cut {
            request: get_of("/", None),
            state: "in the handler",
            age: Duration::ZERO,
        },
    ];
    for event in &all {
        events.emit(|| event.clone());
    }
    let ways = [
        CloseReason::Ended,
        CloseReason::Timeout(TimeoutKind::Idle),
        CloseReason::Error,
        CloseReason::Drained,
        CloseReason::Cut,
        CloseReason::ClientGone,
        CloseReason::Panicked,
    ];
    for why in ways {
        events.emit(|| Event::Opened { peer: None });
        events.emit(|| Event::Closed { peer: None, why });
    }
    let shown = snapshot(&page).await;
    let connections = &shown["connections"];
    assert_eq!(connections["opened"], ways.len());
    let closed = json!({
        "ended": 1, "timeout": 1, "error": 1, "drained": 1, "cut": 1, "client_gone": 1, "panicked": 1
    });
    assert_eq!(connections["closed"], closed);
    // The two accept errors are one kind, and one entry.
    assert_eq!(shown["events"].as_array().unwrap().len(), all.len() - 1);
    let counters = shown["counters"].as_array().unwrap();
    assert_eq!(counters.len(), all.len() - 1);
    let accept = json!({"kind": "error", "what": "accept", "count": 2});
    assert!(counters.contains(&accept), "{counters:?}");
    assert_eq!(shown["events"][1]["detail"], "no more; pausing for 5ms");
}
