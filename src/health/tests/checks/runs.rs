use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_probes_run_one_check() {
    let gate = Gate::new(0);
    let health = Health::new(&ready()).check("db", gate.check());
    let layer = health.layer();
    let probes: Vec<_> = (0..10_000)
        .map(|_| {
            let layer = layer.clone();
            tokio::spawn(async move { ask(&layer, local("/readyz")).await.status() })
        })
        .collect();
    sleep(ms(100)).await;
    assert!(probes.iter().all(|probe| !probe.is_finished()));
    gate.permits.add_permits(1);
    for probe in probes {
        assert_eq!(probe.await.unwrap(), 200);
    }
    assert_eq!(gate.runs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_than_one_run_at_once() {
    // Without a cache, and on many threads: every probe wants a run of its own.
    let gate = Gate::open();
    let health = Health::new(&ready())
        .cache(Duration::ZERO)
        .check("db", gate.check());
    let probes: Vec<_> = (0..16)
        .map(|_| {
            let health = health.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    assert!(health.readiness_report().await.is_ok());
                }
            })
        })
        .collect();
    for probe in probes {
        probe.await.unwrap();
    }
    assert_eq!(gate.most.load(SeqCst), 1);
    assert!(gate.runs() >= 200, "each of one probe's asked anew");
    assert_eq!(gate.at_once.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn results_are_cached_for_the_cache_period() {
    let gate = Gate::open();
    let health = Health::new(&ready()).check("db", gate.check());
    assert_eq!(ready_status(&health).await, 200);
    advance(ms(999)).await;
    assert_eq!(ready_status(&health).await, 200);
    assert_eq!(gate.runs(), 1);
    let report = health.readiness_report().await;
    assert_eq!(report.age, Some(ms(999)), "and it says how old it is");
    let said = json(&ask(&health.layer(), local("/readyz")).await);
    assert_eq!(said["age_ms"], 999);
    advance(ms(1)).await;
    assert_eq!(ready_status(&health).await, 200);
    assert_eq!(gate.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_looked_too_early_begins_no_second_run() {
    // Two probes found the results stale, and the first one's run ends before the second can begin one.
    let gate = Gate::open();
    let health = Health::new(&ready()).check("db", gate.check());
    let runner = health.shared.runner.clone();
    assert!(runner.fresh().is_none());
    runner.results().await;
    runner.results().await;
    assert_eq!(gate.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_cache_period_begins_when_the_run_ends() {
    let health = Health::new(&ready()).check("slow", || async {
        sleep(ms(1500)).await;
        Ok::<_, Infallible>(())
    });
    assert_eq!(health.readiness_report().await.age, Some(Duration::ZERO));
    advance(ms(900)).await;
    let before = Instant::now();
    health.readiness_report().await;
    assert_eq!(before.elapsed(), Duration::ZERO, "no second run");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_cached_no_longer_than_a_success() {
    let well = Arc::new(AtomicBool::new(false));
    let look = well.clone();
    let health = Health::new(&ready()).check("db", move || {
        let well = look.load(SeqCst);
        async move { if well { Ok(()) } else { Err("away") } }
    });
    assert_eq!(ready_status(&health).await, 503);
    well.store(true, SeqCst);
    assert_eq!(ready_status(&health).await, 503);
    advance(ms(1000)).await;
    assert_eq!(ready_status(&health).await, 200);
}

#[tokio::test(start_paused = true)]
async fn checks_run_together_and_each_has_its_deadline() {
    let hung = Gate::new(0);
    let health = Health::new(&ready())
        .check("hung", hung.check())
        .check("also hung", hung.check())
        .check("slow", || async {
            sleep(ms(1500)).await;
            Err("slow, and away")
        })
        .check("quick", || async { Ok::<_, Infallible>(()) });
    let before = Instant::now();
    let report = health.readiness_report().await;
    assert_eq!(before.elapsed(), ms(2000));
    assert_eq!(hung.at_once.load(SeqCst), 0, "they have been dropped");
    let seen: Vec<_> = report
        .components
        .iter()
        .map(|c| (c.error.as_deref(), c.duration.as_millis() / 100))
        .collect();
    let late = Some("timed out after 2s");
    assert_eq!(seen[..2], [(late, 20), (late, 20)]);
    assert_eq!(seen[2..], [(Some("slow, and away"), 15), (None, 0)]);
    assert!(!report.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_configurable() {
    let health = Health::new(&ready())
        .deadline(ms(50))
        .check("hung", std::future::pending::<Result<(), Infallible>>);
    assert_eq!(
        error(&health.readiness_report().await),
        "timed out after 50ms"
    );
    let health = Health::new(&ready())
        .deadline(Duration::MAX)
        .cache(Duration::MAX)
        .check("slow", || async {
            sleep(Duration::from_secs(86_400)).await;
            Ok::<_, Infallible>(())
        });
    assert!(health.readiness_report().await.is_ok());
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let health = Health::new(&ready())
        .check(
            "at once",
            || -> std::future::Ready<Result<(), Infallible>> { panic!("at once") },
        )
        .check("later", || async {
            tokio::task::yield_now().await;
            if true {
                panic!("later: {}", 7);
            }
            Ok::<_, Infallible>(())
        })
        .check("odd", || async {
            if true {
                std::panic::panic_any(7);
            }
            Ok::<_, Infallible>(())
        })
        .check("speechless", || async { Err(Speechless) })
        .check("well", || async { Ok::<_, Infallible>(()) });
    let report = health.readiness_report().await;
    let seen: Vec<_> = report
        .components
        .iter()
        .map(|c| c.error.as_deref())
        .collect();
    assert_eq!(
        seen,
        [
            Some("panicked: at once"),
            Some("panicked: later: 7"),
            Some("panicked"),
            Some("panicked: no words"),
            None
        ]
    );
    assert!(!report.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_that_blocks_its_thread_holds_up_nothing_and_is_not_started_again() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let health = Health::new(&ready())
        .cache(Duration::ZERO)
        .deadline(ms(50))
        .check("blocks", move || {
            let blocked = blocked.clone();
            let first = count.fetch_add(1, SeqCst) == 0;
            async move {
                if first {
                    let _ = blocked.lock().unwrap().recv();
                }
                Ok::<_, Infallible>(())
            }
        });
    let report = timeout(Duration::from_secs(5), health.readiness_report())
        .await
        .unwrap();
    assert_eq!(error(&report), "timed out after 50ms");
    for _ in 0..3 {
        let report = health.readiness_report().await;
        assert_eq!(error(&report), "still blocked in an earlier check");
    }
    assert_eq!(runs.load(SeqCst), 1);
    release.send(()).unwrap();
    let back = async {
        while !health.readiness_report().await.is_ok() {
            sleep(ms(5)).await;
        }
    };
    timeout(Duration::from_secs(5), back).await.unwrap();
    assert_eq!(runs.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_goes_away_does_not_end_the_run_for_the_others() {
    let gate = Gate::new(0);
    let health = Health::new(&ready()).check("db", gate.check());
    // This probe begins the run and is dropped.
    let began = timeout(ms(100), ask(&health.layer(), local("/readyz"))).await;
    assert!(began.is_err());
    let other = tokio::spawn({
        let health = health.clone();
        async move { health.readiness_report().await }
    });
    sleep(ms(100)).await;
    assert_eq!(gate.at_once.load(SeqCst), 1, "the run is still on");
    gate.permits.add_permits(1);
    let report = other.await.unwrap();
    assert!(report.is_ok());
    assert_eq!(gate.runs(), 1);
    assert_eq!(
        report.components[0].duration,
        ms(200),
        "of the run that the first began"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_completes_and_is_cached() {
    let gate = Gate::new(0);
    let health = Health::new(&ready()).check("db", gate.check());
    assert!(timeout(ms(10), health.readiness_report()).await.is_err());
    gate.permits.add_permits(1);
    sleep(ms(10)).await;
    assert!(health.readiness_now().is_some_and(|report| report.is_ok()));
    assert_eq!(gate.runs(), 1);
}
