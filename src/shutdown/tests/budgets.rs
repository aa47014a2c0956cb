use super::*;

#[test]
fn budgets_that_fit_exactly_do() {
    let budgets = Budgets::default();
    assert!(budgets.check(seconds(4), seconds(30)).is_ok());
    assert!(
        budgets
            .check(seconds(4) + Duration::from_nanos(1), seconds(30))
            .is_err()
    );
    assert!(
        Shutdown::new().check().is_ok(),
        "the default fits the default grace"
    );
}

#[test]
fn closers_and_flushes_count() {
    let shutdown = Shutdown::new()
        .closer("pool", seconds(3), || async {})
        .flush("traces", seconds(2), || async {});
    let error = shutdown.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "the shutdown needs 31s (lame_duck 5s + drain 15s + workers 5s + closers 5s + margin 1s) but the \
         termination grace is 30s: raise the grace (ECS stopTimeout, Kubernetes \
         terminationGracePeriodSeconds) to 31s, or lower drain to 14s"
    );
    assert!(shutdown.termination_grace(seconds(31)).check().is_ok());
}

#[test]
fn nothing_is_advised_that_would_not_do() {
    let shutdown = Shutdown::new()
        .drain(seconds(4))
        .termination_grace(seconds(10));
    let error = shutdown.check().unwrap_err().to_string();
    assert!(error.contains("needs 15s"), "{error}");
    assert!(
        error.ends_with("to 15s"),
        "no one part of 5 s or less can give 5 s: {error}"
    );
}

#[test]
fn budgets_of_a_week_fit_and_longer_ones_do_not() {
    let week = seconds(7 * 24 * 3600);
    let mut budgets = Budgets::default();
    let rest = budgets.lame_duck + budgets.workers + budgets.margin;
    budgets.drain = week - rest;
    assert!(budgets.check(Duration::ZERO, week * 2).is_ok());
    assert!(budgets.check(seconds(1), week * 2).is_err());
}

#[test]
fn absurd_budgets_are_an_error_and_no_overflow() {
    let shutdown = Shutdown::new()
        .drain(Duration::MAX)
        .closer("a", Duration::MAX, || async {})
        .closer("b", Duration::MAX, || async {});
    assert!(shutdown.check().is_err());
}

#[test]
fn a_shutdown_that_does_not_fit_does_not_start() {
    let shutdown = quiet().termination_grace(SECOND);
    let error = shutdown.start().err().unwrap();
    assert!(matches!(error, StartError::Budgets(_)), "{error}");
}
