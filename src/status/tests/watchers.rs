use super::*;

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_each_phase_at_once_and_ages_in_between() {
    let (handle, page) = page();
    let mut watching = Watching::begin(&page).await;
    assert_eq!(watching.next().await.unwrap()["phase"], "starting");

    let began = Instant::now();
    assert_eq!(watching.next().await.unwrap()["phase"], "starting");
    assert_eq!(began.elapsed(), Duration::from_millis(500));

    let phases = [
        Phase::Ready,
        Phase::LameDuck,
        Phase::Draining,
        Phase::Closed,
    ];
    for phase in phases {
        let began = Instant::now();
        match phase {
            Phase::LameDuck => handle.lifecycle().lame_duck(Duration::from_secs(20)),
            phase => handle.lifecycle().advance(phase),
        };
        let snapshot = watching.next().await.unwrap();
        assert_eq!(snapshot["phase"], phase.as_str());
        assert_eq!(began.elapsed(), Duration::ZERO, "{phase}");
        assert!(snapshot["phases"][phase.as_str()].is_u64(), "{snapshot}");
        if phase == Phase::LameDuck {
            let left = snapshot["lame_duck_left_ms"].as_u64().unwrap();
            let whole = snapshot["lame_duck_ms"].as_u64().unwrap();
            assert!((19_000..=20_000).contains(&left), "{left}");
            assert!((19_999..=20_001).contains(&whole), "{whole}");
        } else {
            assert_eq!(snapshot["lame_duck_ms"], 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_pushed_soon_but_at_most_ten_times_a_second() {
    let (_handle, page) = page();
    let events = page.event_sink();
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    let began = Instant::now();
    events.emit(|| Event::Refused {
        reason: RefusalReason::RateLimited,
        request: RequestInfo::default(),
    });
    let shown = watching.next().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(100));
    assert_eq!(shown["events"][0]["what"], "rate_limited");

    let attack = async {
        loop {
            events.emit(|| Event::Refused {
                reason: RefusalReason::RateLimited,
                request: RequestInfo::default(),
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let watch = async {
        let began = Instant::now();
        let mut snapshots = 0;
        while began.elapsed() < Duration::from_secs(10) {
            watching.next().await.unwrap();
            snapshots += 1;
        }
        snapshots
    };
    let snapshots = tokio::select! {
        never = attack => never,
        snapshots = watch => snapshots,
    };
    assert!((90..=101).contains(&snapshots), "{snapshots}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_queued_for_a_watcher_that_does_not_read() {
    let (handle, page) = page();
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    for second in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let events = page.event_sink();
        events.emit(|| Event::Timeout {
            kind: TimeoutKind::Idle,
            request: RequestInfo::from_peer(PEER),
        });
        if second == 30 {
            handle.lifecycle().advance(Phase::Ready);
        }
    }
    let late = watching.at_once().expect("the state of now");
    assert_eq!(late["phase"], "ready");
    assert_eq!(late["events"][0]["count"], 60);
    assert_eq!(watching.at_once(), None, "and no other");
}

#[tokio::test]
async fn at_most_sixty_four_watch() {
    let (_, page) = page();
    let mut watching = Vec::new();
    for _ in 0..MAX_WATCHERS {
        watching.push(Watching::begin(&page).await);
    }
    let refused = get(&page.clone().title("another"), "/live").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(
        snapshot(&page).await["phase"],
        "starting",
        "to be asked still"
    );
    assert_eq!(
        ask(&page, Method::HEAD, "/live").await.status(),
        StatusCode::OK
    );
    watching.pop();
    Watching::begin(&page).await;
}

#[tokio::test]
async fn the_stream_ends_with_the_report() {
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let page = StatusPage::new(&handle).title("a \"shop\"");
    let mut watching = Watching::begin(&page).await;
    let first = watching.next().await.unwrap();
    assert_eq!(
        (&first["title"], &first["report"]),
        (&json!("a \"shop\""), &Value::Null)
    );
    let watch = async {
        let mut last = first;
        while let Some(next) = watching.next().await {
            last = next;
        }
        last
    };
    handle.shutdown();
    let (report, last) = tokio::join!(shutdown.run(), watch);
    let report = report.unwrap();
    assert_eq!(last["phase"], "closed");
    assert_eq!(
        last["report"],
        json!({"clean": true, "cut": 0, "text": report.to_string()})
    );
    assert_eq!(last["phases"].get("lame_duck"), None, "skipped");

    // A late watcher gets the report, and the end.
    let mut late = Watching::begin(&page).await;
    assert_eq!(late.next().await.unwrap()["report"]["clean"], true);
    assert!(late.0.is_end_stream());
    assert_eq!(late.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_attack_causes_at_most_twenty_snapshots_a_second() {
    let (handle, page) = page();
    let events = page.event_sink();
    let mut different = std::collections::HashSet::new();
    for _ in 0..1_000 {
        events.emit(|| Event::RateLimitFull);
        let (event, _) = page.shared.event().await;
        different.insert(event.as_ptr());
        // Leaked, so that no other event reuses its address.
        std::mem::forget(event);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((15..=21).contains(&different.len()), "{}", different.len());

    // A phase is never late.
    handle.lifecycle().advance(Phase::Ready);
    assert_eq!(snapshot(&page).await["phase"], "ready");
    // A watcher that was given an older snapshot misses nothing.
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    events.emit(|| Event::RateLimitRestored);
    watching.next().await.unwrap();
    let shown = watching.next().await.unwrap();
    assert_eq!(shown["events"][0]["what"], "restored");
}
