//! Runs of checks, including those that fail, hang, block or panic.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep, timeout};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A check that waits for a permit, and counts its runs and how many overlap.
#[derive(Clone)]
struct Gate {
    permits: Arc<Semaphore>,
    runs: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gate {
    fn new(permits: usize) -> Gate {
        Gate {
            permits: Arc::new(Semaphore::new(permits)),
            runs: Arc::default(),
            at_once: Arc::default(),
            most: Arc::default(),
        }
    }

    fn open() -> Gate {
        Gate::new(Semaphore::MAX_PERMITS)
    }

    fn check(
        &self,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>> + use<>
    {
        let gate = self.clone();
        move || {
            let gate = gate.clone();
            Box::pin(async move {
                gate.runs.fetch_add(1, SeqCst);
                let here = gate.at_once.fetch_add(1, SeqCst) + 1;
                gate.most.fetch_max(here, SeqCst);
                let _leave = Leave(gate.at_once.clone());
                gate.permits.acquire().await.unwrap().forget();
                Ok(())
            })
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(SeqCst)
    }
}

/// An error that fails to format.
#[derive(Debug)]
struct Speechless;

impl std::fmt::Display for Speechless {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Speechless {}

struct Leave(Arc<AtomicUsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn error(report: &HealthReport) -> &str {
    report.components[0].error.as_deref().unwrap()
}

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

#[tokio::test(start_paused = true)]
async fn readiness_fails_with_the_lame_duck_despite_a_cached_success() {
    let lifecycle = ready();
    let gate = Gate::open();
    let health = Health::new(&lifecycle).check("db", gate.check());
    assert_eq!(ready_status(&health).await, 200);
    lifecycle.lame_duck(Duration::from_secs(60));
    let answer = ask(&health.layer(), local("/readyz")).await;
    assert_eq!(answer.status(), 503);
    let said = json(&answer);
    assert_eq!(said["status"], "fail");
    assert_eq!(
        said["components"][0]["status"], "pass",
        "it is not the component's fault"
    );
    advance(Duration::from_secs(30)).await;
    assert_eq!(ready_status(&health).await, 503);
    assert_eq!(gate.runs(), 1, "this needs no dependency");
}

#[tokio::test(start_paused = true)]
async fn readiness_fails_with_the_lame_duck_while_a_check_hangs() {
    let lifecycle = ready();
    let gate = Gate::new(0);
    let health = Health::new(&lifecycle).check("db", gate.check());
    let layer = health.layer();
    let probe = tokio::spawn(async move { ask(&layer, local("/readyz")).await.status() });
    sleep(ms(100)).await;
    let before = Instant::now();
    lifecycle.advance(Phase::LameDuck);
    assert_eq!(probe.await.unwrap(), 503);
    assert_eq!(ready_status(&health).await, 503);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn no_answer_after_the_lame_duck_began_says_ready() {
    // The check begins the shutdown itself: its success comes too late.
    let lifecycle = ready();
    let leave = lifecycle.clone();
    let health = Health::new(&lifecycle).check("db", move || {
        leave.advance(Phase::LameDuck);
        async { Ok::<_, Infallible>(()) }
    });
    let report = health.readiness_report().await;
    assert_eq!((report.phase, report.is_ok()), (Phase::LameDuck, false));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checked_for_liveness_start_up_or_before_ready() {
    let lifecycle = Lifecycle::new();
    let gate = Gate::new(0);
    let health = Health::new(&lifecycle).check("db", gate.check());
    let layer = health.layer();
    assert_eq!(ask(&layer, local("/readyz")).await.status(), 503);
    assert_eq!(ask(&layer, local("/startupz")).await.status(), 503);
    lifecycle.advance(Phase::Ready);
    for _ in 0..2 {
        assert_eq!(ask(&layer, local("/healthz")).await.status(), 200);
        assert_eq!(ask(&layer, local("/startupz")).await.status(), 200);
        assert_eq!(gate.runs(), 0);
        lifecycle.advance(Phase::Draining);
    }
}

#[tokio::test]
async fn an_error_is_reported_with_its_sources_and_truncated() {
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no connection")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let health = Health::new(&ready()).check("db", || async {
        Err(Outer(std::io::Error::other("name not known")))
    });
    assert_eq!(
        error(&health.readiness_report().await),
        "no connection: name not known"
    );
    let health =
        Health::new(&ready()).check("db", || async { Err(format!("a{}", "é".repeat(5000))) });
    assert_eq!(
        error(&health.readiness_report().await).len(),
        511,
        "at a whole letter"
    );
}

#[test]
fn a_runtime_that_ends_during_a_run_blocks_no_probe() {
    let gate = Gate::new(0);
    let health = Health::new(&ready()).check("db", gate.check());
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    one.block_on(async {
        assert!(timeout(ms(10), health.readiness_report()).await.is_err());
    });
    drop(one);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    other.block_on(async {
        let report = health.readiness_now().unwrap();
        assert_eq!(
            error(&report),
            "not run: no tokio runtime with time enabled"
        );
        gate.permits.add_permits(1);
        sleep(ms(1100)).await;
        let report = timeout(Duration::from_secs(5), health.readiness_report()).await;
        assert!(report.unwrap().is_ok());
    });
}

#[test]
fn without_a_runtime_or_its_timers_checks_fail_and_nothing_panics() {
    let health = Health::new(&ready()).check("db", || async { Ok::<_, Infallible>(()) });
    let mut report = Box::pin(health.readiness_report());
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(report) = report.as_mut().poll(&mut nobody) else {
        panic!("it waits for nothing");
    };
    assert_eq!(
        error(&report),
        "not run: no tokio runtime with time enabled"
    );

    let health = Health::new(&ready()).check("db", || async { Ok::<_, Infallible>(()) });
    let without_time = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let report = without_time.block_on(health.readiness_report());
    assert_eq!(
        error(&report),
        "not run: no tokio runtime with time enabled"
    );
}

#[test]
fn later_settings_do_not_affect_existing_services() {
    let health = Health::new(&ready());
    let before = health.clone();
    let health = health
        .version("2")
        .check("db", || async { Ok::<_, Infallible>(()) });
    assert!(before.readiness_now().unwrap().components.is_empty());
    assert_eq!(before.liveness_report().version, None);
    assert!(health.readiness_now().is_none());
    assert_eq!(health.liveness_report().version.as_deref(), Some("2"));
}

/// The two share their checks, but not their runs.
#[tokio::test(start_paused = true)]
async fn services_with_the_same_checks_do_not_block_each_other() {
    let gate = Gate::new(0);
    let lifecycle = ready();
    let public = Health::new(&lifecycle).check("database", gate.check());
    let admin = public
        .clone()
        .check("more", || async { Ok::<_, Infallible>(()) });
    let asked = tokio::spawn({
        let admin = admin.clone();
        async move { admin.readiness_report().await }
    });
    sleep(ms(10)).await;
    assert_eq!(gate.runs(), 1);
    let other = tokio::spawn(async move { public.readiness_report().await });
    sleep(ms(10)).await;
    gate.permits.add_permits(2);
    for asked in [asked, other] {
        let report = asked.await.unwrap();
        assert!(report.is_ok(), "{report}");
    }
}
