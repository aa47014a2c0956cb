//! Settings that cannot work are refused by name.

use std::time::Duration;

use lameduck::shutdown::Budgets;
use lameduck::{Limits, Shutdown, Timeouts};
use tokio::net::TcpListener;

use super::{Bed, NEXT, h2_still_good};
use crate::support::*;

/// Returns the error of a server that does not start.
async fn refusal(timeouts: Timeouts, limits: Limits, shutdown: Shutdown) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = lameduck::serve(listener, app(|_| async { reply(200, "ok") }))
        .timeouts(timeouts)
        .limits(limits)
        .shutdown(shutdown.signals(false));
    let refused = within(ms(500), "a refusal to start", async { serve.await }).await;
    refused.expect_err("it must not start").to_string()
}

#[tokio::test]
async fn invalid_timeouts_are_refused() {
    type Set = fn(Duration) -> Timeouts;
    let set: [(&str, Set); 6] = [
        ("read_header", |wait| Timeouts::default().read_header(wait)),
        ("read", |wait| Timeouts::default().read(wait)),
        ("write", |wait| Timeouts::default().write(wait)),
        ("idle", |wait| Timeouts::default().idle(wait)),
        ("read_stall", |wait| Timeouts::default().read_stall(wait)),
        ("write_stall", |wait| Timeouts::default().write_stall(wait)),
    ];
    for (name, set) in set {
        let zero = refusal(set(Duration::ZERO), Limits::default(), Shutdown::new()).await;
        let expected = format!(
            "the timeout `{name}` is zero, which would refuse every client; `None` switches it off"
        );
        assert_eq!(zero, expected);
        for absurd in [Duration::MAX, Duration::from_secs(8 * 24 * 3600)] {
            let text = refusal(set(absurd), Limits::default(), Shutdown::new()).await;
            assert!(
                text.starts_with(&format!("the timeout `{name}` is ")),
                "{text}"
            );
            assert!(
                text.ends_with("longer than a week; `None` switches it off"),
                "{text}"
            );
        }
        let (_client, io) = tokio::io::duplex(64);
        let app = app(|_| async { reply(200, "ok") });
        let error = lameduck::serve_connection_with_timeouts(io, app, set(Duration::ZERO));
        let error = error.expect_err("it must not start");
        assert_eq!((error.name(), error.to_string()), (name, expected));
    }
}

#[tokio::test]
async fn invalid_limits_are_refused() {
    let default = Limits::default;
    let cases = [
        (
            default().max_connections(0),
            "`max_connections`: 0 would refuse every connection",
        ),
        (
            default().max_connections(usize::MAX),
            "`max_connections`: is more than can be counted; `None` is no limit",
        ),
        (
            default().max_header_bytes(0),
            "`max_header_bytes`: below 256 bytes no request fits",
        ),
        (
            default().max_header_bytes(usize::MAX),
            "`max_header_bytes`: over 64 MiB is no limit",
        ),
        (
            default().max_headers(0),
            "`max_headers`: 0 would refuse every request that names its host",
        ),
        (
            default().max_headers(usize::MAX),
            "`max_headers`: a header map holds at most 32768",
        ),
        (
            default().max_concurrent_streams(0),
            "`max_concurrent_streams`: 0 would refuse every HTTP/2 request",
        ),
        (
            default().ping_interval(Duration::ZERO),
            "`ping_interval`: zero would do nothing but ping; `None` switches it off",
        ),
        (
            default().ping_timeout(Duration::ZERO),
            "`ping_timeout`: zero would close every HTTP/2 connection",
        ),
    ];
    for (limits, expected) in cases {
        let text = refusal(Timeouts::default(), limits, Shutdown::new()).await;
        assert_eq!(text, format!("the limit {expected}"));
    }
}

/// Durations that overflow any clock are refused, or mean for ever, but never panic.
#[tokio::test]
async fn extreme_durations_do_not_panic() {
    for limits in [
        Limits::default().ping_interval(Duration::MAX),
        Limits::default().ping_timeout(Duration::MAX),
        Limits::default().drain_window(Duration::MAX),
        Limits::default().discard(u64::MAX),
        Limits::default().max_concurrent_streams(u32::MAX),
        Limits::default().max_headers(32_768),
    ] {
        if let Err(error) = limits.check() {
            let name = error.name();
            assert!(error.to_string().contains(name), "{error}");
            continue;
        }
        let bed = Bed::new(Setup::new().limits(limits)).await;
        let (sender, connection, _) = h2_connect(bed.server.addr).await;
        h2_still_good(sender, tokio::spawn(connection)).await;
        let mut client = bed.connect().await;
        assert_eq!(client.ask(NEXT).await.status, 200);
        drop(client);
        bed.finish().await;
    }
}

#[tokio::test]
async fn budgets_over_the_grace_are_refused() {
    let secs = Duration::from_secs;
    let refusal = async |shutdown| refusal(Timeouts::default(), Limits::default(), shutdown).await;

    let text = refusal(Shutdown::new().termination_grace(secs(20))).await;
    assert_eq!(
        text,
        "the shutdown needs 26s (lame_duck 5s + drain 15s + workers 5s + closers 0s + margin 1s) \
         but the termination grace is 20s: raise the grace (ECS stopTimeout, Kubernetes \
         terminationGracePeriodSeconds) to 26s, or lower drain to 9s"
    );

    let text = refusal(Shutdown::new().termination_grace(Duration::ZERO)).await;
    assert!(text.contains("raise the grace"), "{text}");

    let shutdown = Shutdown::new().closer("pool", secs(60), || async {});
    let text = refusal(shutdown).await;
    assert!(
        text.contains("needs 86s") && text.contains("closers 60s"),
        "{text}"
    );

    // The durations overflow when added.
    let shutdown = Shutdown::new()
        .drain(Duration::MAX)
        .lame_duck(Duration::MAX)
        .termination_grace(Duration::MAX);
    let text = refusal(shutdown).await;
    assert!(
        text.contains("lame_duck") && text.contains("drain"),
        "{text}"
    );
}

/// A server configured by the advice starts.
#[tokio::test]
async fn advice_about_budgets_works() {
    let secs = Duration::from_secs;
    let check = |drain, grace| {
        let budgets = Budgets {
            drain,
            ..Budgets::default()
        };
        budgets.check(Duration::ZERO, grace)
    };
    for drain in [secs(20), secs(40), secs(1 << 40), Duration::MAX] {
        let text = check(drain, secs(30)).unwrap_err().to_string();
        assert!(text.ends_with("or lower drain to 19s"), "{text}");
    }
    assert!(check(secs(19), secs(30)).is_ok());
    // A grace as absurd gets no advice.
    for drain in [secs(1 << 40), Duration::MAX] {
        let text = check(drain, Duration::MAX).unwrap_err().to_string();
        assert!(text.contains(&format!("drain {drain:?}")), "{text}");
        assert!(
            text.ends_with("longer than a week: a mistake of units"),
            "{text}"
        );
    }
}

/// A drain longer than any clock can count is an error or endless, but never a panic.
#[tokio::test]
async fn extreme_budget_is_refused_or_served() {
    let long = Duration::from_secs(u64::MAX / 8);
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(long)
        .workers(long)
        .termination_grace(Duration::MAX);
    let handle = shutdown.handle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = app(|_| async { reply(200, "ok") });
    let serve = lameduck::serve(listener, app).shutdown(shutdown);
    let serving = tokio::spawn(async move { serve.await });
    handle.drain_now();
    let ended = within(LIMIT, "the end", serving).await.expect("no panic");
    match ended {
        Ok(report) => assert!(report.is_clean(), "{report}"),
        Err(error) => assert!(error.to_string().contains("drain"), "{error}"),
    }
}
