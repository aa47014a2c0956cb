//! Runs of checks, including those that fail, hang, block or panic.

mod runs;

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
    let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(report) = report.as_mut().poll(&mut noop) else {
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
