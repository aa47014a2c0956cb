use std::time::{Duration, Instant};

use crate::shutdown::order::Order;
use crate::shutdown::signals::{Heard, Meaning, Signal, SignalAction, Signals};
use Meaning::{Default as DefaultAction, End, Nothing, Reload, Repeated};
use Signal::{Hangup, Interrupt, Quit, Terminate};

const LEAVE: Meaning = Meaning::Order(Order::Leave);
const LEAVE_NOW: Meaning = Meaning::Order(Order::LeaveNow);
const CUT: Meaning = Meaning::Order(Order::Cut);

/// Returns the consequences of these signals, each so many milliseconds after the start.
fn heard(signals: Signals, at_terminal: bool, came: &[(Signal, u64)]) -> Vec<Meaning> {
    let mut heard = Heard::default();
    let began = Instant::now();
    came.iter()
        .map(|&(signal, at)| {
            let now = began + Duration::from_millis(at);
            heard.hear(&signals, signal, now, at_terminal && signal == Interrupt)
        })
        .collect()
}

#[test]
fn each_signal_has_its_meaning() {
    for (signal, at_terminal, meaning) in [
        (Terminate, false, LEAVE),
        (Terminate, true, LEAVE),
        (Quit, false, LEAVE),
        (Quit, true, LEAVE),
        (Interrupt, false, LEAVE),
        (Interrupt, true, LEAVE_NOW),
        (Hangup, false, Reload),
        (Hangup, true, Reload),
    ] {
        let first = heard(Signals::new(), at_terminal, &[(signal, 0)]);
        assert_eq!(first, [meaning], "{signal:?}, at a terminal: {at_terminal}");
    }
}

#[test]
fn the_same_signal_within_a_second_is_a_repetition() {
    for signal in [Terminate, Quit, Interrupt] {
        let came = [0, 50, 999, 1_000, 1_500, 1_999, 2_000].map(|at| (signal, at));
        assert_eq!(
            heard(Signals::new(), false, &came),
            [LEAVE, Repeated, Repeated, CUT, Repeated, Repeated, End],
            "{signal:?}"
        );
    }
}

#[test]
fn a_person_steps_in_at_once_and_a_wrapper_repeats_a_ctrl_c() {
    let steps_in = heard(Signals::new(), true, &[(Terminate, 0), (Interrupt, 10)]);
    assert_eq!(steps_in, [LEAVE, CUT]);
    let wrapper = heard(Signals::new(), true, &[(Interrupt, 0), (Terminate, 10)]);
    assert_eq!(wrapper, [LEAVE_NOW, Repeated]);
    let later = heard(Signals::new(), true, &[(Interrupt, 0), (Terminate, 1_000)]);
    assert_eq!(later, [LEAVE_NOW, CUT]);
}

#[test]
fn second_ctrl_c_of_a_person_cuts_and_that_of_a_wrapper_does_not() {
    let came = [0, 5, 149, 150, 400].map(|at| (Interrupt, at));
    let meanings = heard(Signals::new(), true, &came);
    assert_eq!(meanings, [LEAVE_NOW, Repeated, Repeated, CUT, Repeated]);
    let shorter = Signals::new().repeat_within(Duration::from_millis(10));
    assert_eq!(heard(shorter, true, &came[..2]), [LEAVE_NOW, Repeated]);
    assert_eq!(heard(shorter, true, &[came[0], came[2]]), [LEAVE_NOW, CUT]);
}

#[test]
fn two_signals_of_a_platform_are_one_order() {
    for first in [Terminate, Quit, Interrupt] {
        for second in [Terminate, Quit] {
            let pair = heard(Signals::new(), false, &[(first, 0), (second, 50)]);
            assert_eq!(pair, [LEAVE, Repeated], "{first:?}, {second:?}");
            let later = heard(Signals::new(), false, &[(first, 0), (second, 1_000)]);
            assert_eq!(later, [LEAVE, CUT], "{first:?}, {second:?}");
        }
    }
}

#[test]
fn a_reload_is_no_signal_to_end() {
    let came = [(Hangup, 0), (Terminate, 10), (Hangup, 20), (Hangup, 5_000)];
    let meanings = heard(Signals::new(), false, &came);
    assert_eq!(meanings, [Reload, LEAVE, Reload, Reload]);
}

#[test]
fn each_can_be_set() {
    let signals = Signals::new()
        .on(Hangup, SignalAction::Shutdown)
        .on(Interrupt, SignalAction::Drain)
        .on(Quit, SignalAction::Default)
        .on(Terminate, SignalAction::Ignore)
        .repeat_within(Duration::ZERO);
    let came = [(Terminate, 0), (Quit, 0), (Interrupt, 0), (Hangup, 0)];
    let meanings = heard(signals, false, &came);
    assert_eq!(meanings, [Nothing, DefaultAction, LEAVE_NOW, CUT]);
    let cut = Signals::new().on(Quit, SignalAction::Cut);
    let meanings = heard(cut, false, &[(Quit, 0), (Quit, 500), (Quit, 1_000)]);
    assert_eq!(meanings, [CUT, Repeated, End]);
    let off = heard(Signals::off(), true, &[(Terminate, 0), (Interrupt, 9_000)]);
    assert_eq!(off, [Nothing, Nothing]);
}
