//! Real signals begin the shutdown, and cut it short.

use std::process::{Command, ExitCode};
use std::time::Duration;

use lameduck::shutdown::{Cause, Signal, SignalAction, Signals, StepEnd};
use lameduck::{Phase, Shutdown};
use tokio::time::Instant;

use super::{GET, Log, Running, SIGNALS, SLOW, deaf, same};
use crate::support::{Gate, How, LIMIT, ms, within};

fn signal(name: &str) {
    let kill = format!("kill -{name} {}", std::process::id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "{kill}");
}

#[tokio::test]
async fn sigterm_runs_the_whole_sequence() {
    let _alone = SIGNALS.lock().await;
    let running = Running::start(Shutdown::new().lame_duck(ms(300)), Gate::new().app()).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    signal("TERM");
    let lame_duck = running.handle.lifecycle().reached(Phase::LameDuck);
    assert_eq!(
        within(LIMIT, "the lame duck", lame_duck).await,
        Phase::LameDuck
    );
    let mut late = running.connect().await;
    assert_eq!(late.ask(GET).await.status, 200, "served on");
    let report = running.report().await;
    assert_eq!(report.cause, Cause::Sigterm);
    assert!(report.lame_duck >= ms(290), "{report}");
    assert!(report.is_clean() && same(report.exit_code(), ExitCode::SUCCESS));
    assert!(
        report
            .to_string()
            .starts_with("shutdown (SIGTERM): clean\n"),
        "{report}"
    );
}

#[tokio::test]
async fn sigint_skips_the_lame_duck_if_configured() {
    let _alone = SIGNALS.lock().await;
    // This is the default where standard input is a terminal.
    let signals = Signals::new().on(Signal::Interrupt, SignalAction::Drain);
    let running = Running::start(Shutdown::with_signals(signals), Gate::new().app()).await;
    let began = Instant::now();
    signal("INT");
    let report = running.report().await;
    assert!(began.elapsed() < ms(1_000), "{:?}", began.elapsed());
    assert_eq!(
        (report.cause, report.lame_duck.as_millis()),
        (Cause::Sigint, 0)
    );
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn second_signal_cuts_at_once() {
    let _alone = SIGNALS.lock().await;
    // The same signal at once is a repetition; a second later it is a second one.
    let later = ms(1_100);
    let pairs = [
        ("TERM", "TERM", later),
        ("TERM", "INT", Duration::ZERO),
        ("INT", "INT", later),
    ];
    for (first, second, after) in pairs {
        let gate = Gate::new();
        let flushed = Log::default();
        let flush = flushed.clone();
        let shutdown = Shutdown::new()
            .closer("pool", ms(1_000), || async {})
            .flush("logs", ms(1_000), || async move { flush.say("flushed") });
        let running = Running::start(shutdown, gate.app()).await;
        let mut client = running.connect().await;
        client.send(SLOW).await;
        gate.came().await;
        signal(first);
        let leaving = running.handle.lifecycle().reached(Phase::LameDuck);
        within(LIMIT, "the first signal", leaving).await;
        tokio::time::sleep(after).await;
        let cut = Instant::now();
        signal(second);
        let report = running.report().await;
        assert!(
            cut.elapsed() < ms(800),
            "{first}, {second}: {:?}",
            cut.elapsed()
        );
        assert!(
            report.at_once && !report.is_clean(),
            "{first}, {second}: {report}"
        );
        assert!(same(report.exit_code(), ExitCode::FAILURE));
        assert_eq!(report.cut.len(), 1, "{first}, {second}: {report}");
        assert_eq!(report.cut[0].path, "/slow");
        assert_eq!(report.steps[0].end, StepEnd::Skipped);
        assert_eq!(flushed.lines(), ["flushed"]);
        assert_eq!(client.read_until_close().await.how, How::Reset);
    }
}

#[tokio::test]
async fn signals_can_be_left_to_others() {
    let _alone = SIGNALS.lock().await;
    let mut ours =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let running = Running::start(deaf(), Gate::new().app()).await;
    signal("TERM");
    within(LIMIT, "the signal", ours.recv()).await;
    tokio::time::sleep(ms(30)).await;
    assert_eq!(running.handle.lifecycle().phase(), Phase::Ready);
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    running.handle.shutdown();
    assert_eq!(running.report().await.cause, Cause::Called);
}

/// A container's stop hook begins the drain by an admin call; the orchestrator's signal follows.
#[tokio::test]
async fn first_signal_after_an_admin_shutdown_cuts_nothing() {
    let _alone = SIGNALS.lock().await;
    let gate = Gate::new();
    let shutdown = Shutdown::new().lame_duck(ms(200)).drain(ms(3_000));
    let running = Running::start(shutdown, gate.app()).await;
    let mut client = running.connect().await;
    client.send(SLOW).await;
    gate.came().await;
    running.handle.shutdown();
    tokio::time::sleep(ms(30)).await;
    signal("TERM");
    tokio::time::sleep(ms(400)).await;
    gate.let_one_go();
    let answer = client.try_read_response().await;
    let report = running.report().await;
    assert_eq!(answer.unwrap().status, 200, "{report}");
    assert!(report.is_clean(), "{report}");
}
