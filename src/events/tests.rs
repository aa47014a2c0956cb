//! Tests of a hub: listeners added in any order, each event received once.

use super::*;
use crate::phase::Lifecycle;
use std::sync::atomic::{AtomicUsize, Ordering};

fn counter() -> (EventSink, impl Fn() -> usize) {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let events = EventSink::to(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (events, move || heard.load(Ordering::Relaxed))
}

fn emit(events: &EventSink) {
    events.emit(|| Event::RateLimitRestored);
}

#[test]
fn listener_given_twice_hears_once() {
    let (events, heard) = counter();
    emit(&events.clone().and(events));
    assert_eq!(heard(), 1);
}

#[test]
fn hub_reaches_listeners_added_later() {
    let lifecycle = Lifecycle::new();
    let sink = lifecycle.event_sink();
    sink.emit(|| unreachable!("made without a listener"));
    let (events, heard) = counter();
    lifecycle.listen(events.clone());
    lifecycle.listen(events);
    emit(&sink);
    assert_eq!(heard(), 1);
}

#[test]
fn listener_beside_the_hub_and_in_it_hears_once() {
    let lifecycle = Lifecycle::new();
    let (events, heard) = counter();
    let sink = lifecycle.event_sink().and(events.clone());
    emit(&sink);
    assert_eq!(heard(), 1);
    lifecycle.listen(events);
    emit(&sink);
    assert_eq!(heard(), 2);
}

#[test]
fn hubs_in_a_circle_emit_once() {
    let (one, other) = (Lifecycle::new(), Lifecycle::new());
    let (events, heard) = counter();
    other.listen(events);
    one.listen(one.event_sink());
    one.listen(other.event_sink());
    other.listen(one.event_sink());
    emit(&one.event_sink());
    emit(&other.event_sink());
    assert_eq!(heard(), 2);
}

#[test]
fn hub_takes_listeners_from_many_threads_and_drops_a_long_list() {
    let lifecycle = Lifecycle::new();
    let heard = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let heard = heard.clone();
                    lifecycle.listen(EventSink::to(move |_| {
                        heard.fetch_add(1, Ordering::Relaxed);
                    }));
                }
            });
        }
    });
    emit(&lifecycle.event_sink());
    assert_eq!(heard.load(Ordering::Relaxed), 2_000);
}

#[test]
fn a_listener_that_panics_harms_nothing_else() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let heard = Arc::new(AtomicUsize::new(0));
    let count = || {
        let heard = heard.clone();
        EventSink::to(move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        })
    };
    let panics = EventSink::to(|_| panic!("a listener's own fault"));
    let events = count().and(panics).and(count());
    for _ in 0..2 {
        events.emit(|| Event::RateLimitRestored);
    }
    assert_eq!(heard.load(Ordering::Relaxed), 4);
}

#[test]
fn each_close_reason_is_at_its_index() {
    for (place, why) in CloseReason::ALL.iter().enumerate() {
        assert_eq!(why.place(), place, "{why:?}");
    }
}
