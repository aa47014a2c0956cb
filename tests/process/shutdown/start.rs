//! What is never driven is reported; what cannot work does not start.

use std::future::IntoFuture;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lameduck::events::{Event, EventSink};
use lameduck::serve::{Connections, ServeError};
use lameduck::shutdown::ShutdownHandle;
use lameduck::{Limits, Phase, Shutdown, Timeouts};
use tokio::net::TcpListener;

use super::{Log, Running, SIGNALS, deaf, listener};
use crate::support::{Door, Gate, LIMIT, again, ms, within};

// === what no one drives ===

type Wire = fn(Shutdown) -> Option<ShutdownHandle>;

/// The ways to rely on a shutdown that no one drives.
const UNDRIVEN: [Wire; 5] = [
    |shutdown| {
        drop(shutdown.closer("pool", ms(10), || async {}));
        None
    },
    |shutdown| {
        let handle = shutdown.handle();
        handle.spawn_worker("mailer", |stop| async move { stop.cancelled().await });
        drop(shutdown);
        Some(handle)
    },
    |shutdown| {
        let handle = shutdown.handle();
        drop(shutdown);
        handle.shutdown();
        handle.shutdown();
        Some(handle)
    },
    |shutdown| {
        let handle = shutdown.handle();
        drop(shutdown);
        let (timeouts, limits) = (Timeouts::default(), Limits::default());
        drop(Connections::new(timeouts, limits).unwrap().follow(&handle));
        Some(handle)
    },
    |shutdown| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let shutdown = shutdown.flush("logs", ms(10), || async {});
        drop(lameduck::serve(listener, Gate::new().app()).shutdown(shutdown));
        None
    },
];

/// Returns a shutdown, and the advice that is emitted about it.
fn advised() -> (Shutdown, Log) {
    let log = Log::default();
    let heard = log.clone();
    let events = EventSink::to(move |event| {
        if let Event::Misconfigured { advice } = event {
            heard.say(advice);
        }
    });
    (deaf().events(events), log)
}

#[tokio::test]
async fn shutdown_that_is_used_and_never_driven_is_reported_once() {
    for (case, wire) in UNDRIVEN.into_iter().enumerate() {
        let (shutdown, advice) = advised();
        let _handle = wire(shutdown);
        let advice = advice.lines();
        assert_eq!(advice.len(), 1, "{case}: {advice:?}");
        assert!(advice[0].contains("serve(..).shutdown(..)"), "{advice:?}");
    }
}

#[tokio::test]
async fn shutdown_that_is_unused_or_driven_is_not_reported() {
    let (shutdown, advice) = advised();
    let handle = shutdown.handle();
    drop(shutdown);
    assert_eq!(handle.lifecycle().phase(), Phase::Starting);
    assert!(advice.lines().is_empty());

    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    let running = Running::start(shutdown, Gate::new().app()).await;
    running.handle.shutdown();
    running.report().await;
    assert!(advice.lines().is_empty());

    // Made to be checked only, as a service does before it starts.
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    shutdown.check().unwrap();
    drop(shutdown);
    assert!(advice.lines().is_empty());

    // The error of a start is loud enough.
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(90_000), || async {});
    shutdown.run().await.unwrap_err();
    assert!(advice.lines().is_empty());
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    let (listener, _) = listener().await;
    let serve = lameduck::serve(listener, Gate::new().app())
        .timeouts(Timeouts::default().read(Duration::ZERO))
        .shutdown(shutdown);
    serve.into_future().await.unwrap_err();
    assert!(advice.lines().is_empty());
}

#[tokio::test]
async fn second_shutdown_that_receives_the_same_signals_is_reported() {
    let _alone = SIGNALS.lock().await;
    let start = async |shutdown| Running::start(shutdown, Gate::new().app()).await;
    let (deaf, no_advice) = advised();
    let signalled = || {
        let (shutdown, advice) = advised();
        (shutdown.signals(true), advice)
    };
    let (one, first_advice) = signalled();
    let (two, second_advice) = signalled();
    let one = start(one).await;
    let (two, deaf) = (start(two).await, start(deaf).await);
    let advice = second_advice.lines();
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(advice[0].contains("`follow`"), "{advice:?}");
    for running in [one, two, deaf] {
        running.handle.shutdown();
        running.report().await;
    }
    assert!(first_advice.lines().is_empty() && no_advice.lines().is_empty());

    // One after the other is right.
    let (next, advice) = signalled();
    let next = start(next).await;
    next.handle.shutdown();
    next.report().await;
    assert!(advice.lines().is_empty());
}

#[test]
fn undriven_shutdown_writes_one_line_to_standard_error() {
    const CHILD: &str = "LAMEDUCK_TEST_UNDRIVEN";
    if std::env::var_os(CHILD).is_some() {
        drop(deaf().closer("pool", ms(10), || async {}));
        return;
    }
    let name = "undriven_shutdown_writes_one_line_to_standard_error";
    let child = again(module_path!(), name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&child.stderr);
    let ours = errors.lines().filter(|line| line.starts_with("lameduck: "));
    assert!(child.status.success(), "{errors}");
    assert_eq!(ours.count(), 1, "{errors}");
}

// === what does not start ===

/// Polls once: an error of the start needs no more.
fn first_poll<F: IntoFuture>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future.into_future());
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn runtime_without_timers_or_io_does_not_start_and_says_what_to_enable() {
    let whole = tokio::runtime::Runtime::new().unwrap();
    let with_io = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let with_time = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let serve = || {
        let (listener, _) = whole.block_on(listener());
        lameduck::serve(listener, Gate::new().app()).shutdown(deaf())
    };

    let none = first_poll(serve()).expect("an error at once").unwrap_err();
    let spawned = serve().spawn().unwrap_err();
    let no_timers = with_io.block_on(serve().into_future()).unwrap_err();
    let no_io = with_time.block_on(serve().into_future()).unwrap_err();
    for error in [none, spawned, no_timers, no_io] {
        assert!(matches!(error, ServeError::Runtime(_)), "{error:?}");
        assert!(error.to_string().contains("enable_all"), "{error}");
    }

    let none = first_poll(deaf().run()).expect("an error at once");
    let no_timers = with_io.block_on(deaf().run());
    for error in [none.unwrap_err(), no_timers.unwrap_err()] {
        assert!(error.to_string().contains("enable_all"), "{error}");
    }
}

#[test]
fn listener_in_memory_needs_no_io() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (_door, listener) = Door::new();
    let shutdown = deaf();
    let handle = shutdown.handle();
    handle.drain_now();
    let serve = lameduck::serve(listener, Gate::new().app()).shutdown(shutdown);
    assert!(runtime.block_on(serve.into_future()).unwrap().is_clean());
}

#[tokio::test]
async fn invalid_settings_do_not_start_and_say_what_to_change() {
    let refused = |change: fn(Shutdown) -> Shutdown, timeouts: Timeouts, limits: Limits| async move {
        let (listener, _) = listener().await;
        let serve = lameduck::serve(listener, Gate::new().app())
            .shutdown(change(deaf()))
            .timeouts(timeouts)
            .limits(limits);
        let serve = async move { serve.await };
        within(LIMIT, "the refusal", serve).await.unwrap_err()
    };
    let (timeouts, limits) = (Timeouts::default(), Limits::default());

    let error = refused(|s| s.termination_grace(ms(10_000)), timeouts, limits).await;
    assert!(matches!(error, ServeError::Shutdown(_)));
    let text = error.to_string();
    assert!(
        text.contains("needs 21s") && text.contains("stopTimeout"),
        "{text}"
    );

    let error = refused(|s| s, timeouts.read(Duration::ZERO), limits).await;
    assert!(matches!(error, ServeError::Timeout(_)));
    assert!(error.to_string().contains("`read` is zero"), "{error}");

    let error = refused(|s| s, timeouts, limits.max_connections(0)).await;
    assert!(matches!(error, ServeError::Limit(_)));
    assert!(error.to_string().contains("`max_connections`"), "{error}");
}
