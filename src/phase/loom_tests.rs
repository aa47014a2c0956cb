//! Model checks, run by `RUSTFLAGS="--cfg lameduck_loom" cargo test --release --lib loom`.

use super::{Lifecycle, Phase};
use crate::track::Tally;
use loom::future::block_on;
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_waiter_never_misses_a_move() {
    loom::model(|| {
        let lifecycle = Lifecycle::new();
        let mover = lifecycle.clone();
        let thread = thread::spawn(move || mover.advance(Phase::Draining));
        assert_eq!(
            block_on(lifecycle.reached(Phase::LameDuck)),
            Phase::Draining
        );
        thread.join().unwrap();
    });
}

#[test]
fn two_concurrent_moves_never_go_back() {
    loom::model(|| {
        let lifecycle = Lifecycle::new();
        let (a, b) = (lifecycle.clone(), lifecycle.clone());
        let first = thread::spawn(move || a.advance(Phase::Draining));
        let second = thread::spawn(move || b.advance(Phase::Ready));
        let before = lifecycle.phase();
        assert!(lifecycle.phase() >= before);
        assert!(first.join().unwrap(), "no other thread reached Draining");
        second.join().unwrap();
        assert_eq!(lifecycle.phase(), Phase::Draining);
    });
}

#[test]
fn a_reader_of_the_lame_duck_phase_sees_its_window() {
    loom::model(|| {
        let lifecycle = Lifecycle::new();
        let mover = lifecycle.clone();
        let thread = thread::spawn(move || mover.lame_duck(Duration::from_secs(3600)));
        if lifecycle.phase() == Phase::LameDuck {
            assert!(lifecycle.lame_duck_left() > Duration::from_secs(3000));
            assert!(lifecycle.departure() < 0.5);
        }
        thread.join().unwrap();
    });
}

#[test]
fn idle_is_never_missed() {
    loom::model(|| {
        let tally = Arc::new(Tally::new());
        let guard = Tally::enter(&tally);
        let thread = thread::spawn(move || drop(guard));
        block_on(tally.idle());
        assert_eq!(tally.count(), 0);
        thread.join().unwrap();
    });
}

#[test]
fn idle_is_never_missed_when_two_leave() {
    loom::model(|| {
        let tally = Arc::new(Tally::new());
        let (one, two) = (Tally::enter(&tally), Tally::enter(&tally));
        let first = thread::spawn(move || drop(one));
        let second = thread::spawn(move || drop(two));
        block_on(tally.idle());
        assert_eq!(tally.count(), 0);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn a_lower_count_is_never_missed_by_waiters_for_different_ones() {
    loom::model(|| {
        let tally = Arc::new(Tally::new());
        let (one, two) = (Tally::enter(&tally), Tally::enter(&tally));
        let mut low = Box::pin(tally.at_most(0));
        let waker = std::task::Waker::noop();
        let polled = low
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
        let first = thread::spawn(move || drop(one));
        block_on(tally.at_most(1));
        first.join().unwrap();
        drop(two);
        block_on(low);
    });
}

#[test]
fn a_waiter_that_is_dropped_takes_no_wake_of_another() {
    loom::model(|| {
        let tally = Arc::new(Tally::new());
        let guard = Tally::enter(&tally);
        let mut dropped = Box::pin(tally.at_most(0));
        let waker = std::task::Waker::noop();
        let _ = dropped
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        let leaver = thread::spawn(move || drop(guard));
        drop(dropped);
        block_on(tally.idle());
        leaver.join().unwrap();
    });
}
