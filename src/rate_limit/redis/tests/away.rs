//! A Redis that is missing, leaves, hangs and returns.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::rate_limit::redis::connect::IN_FLIGHT;
use crate::rate_limit::redis::link::MAX_FAILURES;

const QUOTA: Quota = Quota::per_hour(1_000_000);
/// Allows for a busy machine.
const MARGIN: Duration = ms(400);

#[tokio::test]
async fn an_absent_redis_is_not_awaited_and_is_found_once_up() {
    let mut redis = Redis::absent(&[]).await;
    let emitted = Emitted::default();
    let limiter = RedisLimiter::new(&redis.url())
        .unwrap()
        .events(emitted.event_sink());
    assert!(!limiter.is_away());
    assert_eq!(ask(&limiter, "x", QUOTA).await, None);
    until("away", || limiter.is_away()).await;
    let begin = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
    }
    assert!(begin.elapsed() < ms(1000), "{:?}", begin.elapsed());
    assert_eq!(limiter.fallbacks(), 10_001);
    redis.run().await;
    until("back", || !limiter.is_away()).await;
    assert_eq!(emitted.pairs(), 1);
}

#[tokio::test]
async fn a_redis_that_hangs_from_the_start_costs_one_deadline() {
    let redis = Redis::start().await;
    redis.pause();
    let emitted = Emitted::default();
    let limiter = RedisLimiter::new(&redis.url()).unwrap();
    let limiter = limiter.deadline(ms(100)).events(emitted.event_sink());
    let begin = Instant::now();
    // All of them wait for the same connection.
    let key = Key::from("x");
    let asked: Vec<_> = (0..100)
        .map(|_| tokio::spawn(limiter.check(&key, &[QUOTA])))
        .collect();
    for task in asked {
        assert_eq!(task.await.unwrap(), None);
    }
    assert!(begin.elapsed() < ms(100) + MARGIN, "{:?}", begin.elapsed());
    until("away", || limiter.is_away()).await;
    assert_eq!(emitted.all().len(), 1);
    redis.resume();
    until("back", || !limiter.is_away()).await;
    assert_eq!(emitted.pairs(), 1);
}

#[tokio::test]
async fn a_stopped_or_killed_redis_is_away_at_once_and_reconnected() {
    let mut redis = Redis::start().await;
    let emitted = Emitted::default();
    let limiter = limiter(&redis.url()).events(emitted.event_sink());
    for (round, signal) in ["KILL", "TERM"].into_iter().enumerate() {
        assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);
        redis.stop(signal);
        let begin = Instant::now();
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
        assert!(begin.elapsed() < MARGIN, "{:?}", begin.elapsed());
        assert!(
            limiter.is_away(),
            "a lost connection opens the breaker at once"
        );
        redis.run().await;
        until("back", || !limiter.is_away()).await;
        assert_eq!(emitted.pairs(), round + 1);
    }
    assert_eq!(limiter.fallbacks(), 2);
    assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);
}

#[tokio::test]
async fn a_hanging_redis_costs_five_deadlines_and_then_nothing() {
    let redis = Redis::start().await;
    let emitted = Emitted::default();
    let limiter = RedisLimiter::new(&redis.url())
        .unwrap()
        .deadline(ms(100))
        .events(emitted.event_sink());
    // On a busy machine the first query may exceed its deadline.
    ask(&limiter, "x", QUOTA).await;
    until("there", || !limiter.is_away()).await;
    let before = (emitted.all().len(), limiter.fallbacks());
    redis.pause();
    for number in 1..=MAX_FAILURES {
        assert!(!limiter.is_away(), "after {number}");
        let begin = Instant::now();
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
        let took = begin.elapsed();
        assert!(took >= ms(95) && took < ms(100) + MARGIN, "{took:?}");
    }
    assert!(limiter.is_away());
    assert!(
        emitted.all().last().unwrap().contains("within 100ms"),
        "{:?}",
        emitted.all()
    );
    let begin = Instant::now();
    for _ in 0..1000 {
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
    }
    assert!(begin.elapsed() < ms(100), "{:?}", begin.elapsed());
    // This time includes a probe or two that hang.
    tokio::time::sleep(ms(600)).await;
    assert!(limiter.is_away());
    assert_eq!(emitted.all().len(), before.0 + 1, "emitted once");
    assert_eq!(
        limiter.fallbacks(),
        before.1 + 1000 + u64::from(MAX_FAILURES)
    );
    redis.resume();
    until("back", || !limiter.is_away()).await;
    assert!(emitted.pairs() >= 1);
    assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);
}

#[tokio::test]
async fn a_single_slow_answer_does_not_open_the_breaker() {
    let redis = Redis::start().await;
    let emitted = Emitted::default();
    let limiter = limiter(&redis.url())
        .deadline(ms(300))
        .events(emitted.event_sink());
    until_there(&limiter).await;
    let emitted_before = emitted.all().len();
    for _ in 0..2 {
        redis.pause();
        for _ in 0..MAX_FAILURES - 1 {
            assert_eq!(ask(&limiter, "x", QUOTA).await, None);
        }
        redis.resume();
        assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);
    }
    assert!(!limiter.is_away());
    assert_eq!(emitted.all().len(), emitted_before);
}

/// Waits for the connection: with a short deadline the first query may be too late.
async fn until_there(limiter: &RedisLimiter) {
    let begin = Instant::now();
    while ask(limiter, "first", QUOTA).await.is_none() {
        assert!(begin.elapsed() < LIMIT);
        tokio::time::sleep(ms(20)).await;
    }
}

#[tokio::test]
async fn a_hanging_redis_accumulates_a_bounded_number_of_queries() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url()).deadline(ms(500));
    until_there(&limiter).await;
    redis.pause();
    let key = Key::from("x");
    let checks: Vec<_> = (0..3 * IN_FLIGHT)
        .map(|_| limiter.check(&key, &[QUOTA]))
        .collect();
    assert_eq!(limiter.link.in_flight.available_permits(), 0);
    assert!(limiter.fallbacks() >= 2 * IN_FLIGHT as u64);
    let tasks: Vec<_> = checks.into_iter().map(tokio::spawn).collect();
    let begin = Instant::now();
    for task in tasks {
        assert_eq!(task.await.unwrap(), None);
    }
    assert!(
        begin.elapsed() < ms(500) + 2 * MARGIN,
        "{:?}",
        begin.elapsed()
    );
    assert!(limiter.is_away());
    assert_eq!(limiter.link.in_flight.available_permits(), IN_FLIGHT);
    redis.resume();
    until("back", || !limiter.is_away()).await;
}

#[tokio::test]
async fn cancelled_queries_leak_nothing_and_hide_no_outage() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url()).deadline(ms(300));
    until_there(&limiter).await;
    for polls in 0..20 {
        let mut check = begun(limiter.check(&Key::from("x"), &[QUOTA])).await;
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        drop(check.take());
    }
    until("permits", || {
        limiter.link.in_flight.available_permits() == IN_FLIGHT
    })
    .await;
    assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);

    // All clients give up before the deadline; the hanging Redis is detected all the same.
    redis.pause();
    for _ in 0..MAX_FAILURES {
        let check = begun(limiter.check(&Key::from("x"), &[QUOTA])).await;
        drop(check);
    }
    until("away", || limiter.is_away()).await;
    until("permits", || {
        limiter.link.in_flight.available_permits() == IN_FLIGHT
    })
    .await;
    redis.resume();
    until("back", || !limiter.is_away()).await;
}

/// Polls the future once.
async fn begun<F: Future + Unpin>(mut future: F) -> Option<F> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx).is_pending())
    })
    .await
    .then_some(future)
}

#[tokio::test]
async fn a_read_only_replica_counts_as_away() {
    let redis = Redis::start().await;
    let emitted = Emitted::default();
    let limiter = limiter(&redis.url()).events(emitted.event_sink());
    assert!(ask(&limiter, "x", QUOTA).await.unwrap().admitted);
    let mut raw = raw(&redis).await;
    let mut replicaof = redis::cmd("REPLICAOF");
    let _: String = replicaof
        .arg("127.0.0.1")
        .arg(1)
        .query_async(&mut raw)
        .await
        .unwrap();
    for _ in 0..MAX_FAILURES {
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
    }
    assert!(limiter.is_away());
    tokio::time::sleep(ms(500)).await;
    assert!(limiter.is_away());
    let mut no_one = redis::cmd("REPLICAOF");
    let _: String = no_one
        .arg("NO")
        .arg("ONE")
        .query_async(&mut raw)
        .await
        .unwrap();
    until("back", || !limiter.is_away()).await;
    assert_eq!(emitted.pairs(), 1);
}

/// A foreign protocol's answer must neither panic nor be taken for Redis's.
#[tokio::test]
async fn a_foreign_protocol_counts_as_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let says_ok = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).await.is_ok_and(|length| length > 0) {
                    // As many answers as one message may hold queries.
                    stream.write_all(&b"+OK\r\n".repeat(2)).await.unwrap();
                }
            });
        }
    });
    let emitted = Emitted::default();
    let limiter = limiter(&url).events(emitted.event_sink());
    assert_eq!(ask(&limiter, "x", QUOTA).await, None);
    assert!(limiter.is_away());
    assert_eq!(emitted.all().len(), 1, "{:?}", emitted.all());
    says_ok.abort();
}

#[tokio::test]
async fn with_the_last_limiter_the_search_and_the_connection_end() {
    let redis = Redis::absent(&[]).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let away = limiter(&redis.url());
    assert_eq!(ask(&away, "x", QUOTA).await, None);
    let clone = away.clone();
    drop(away);
    tokio::time::sleep(ms(20)).await;
    assert_eq!(tasks(), before + 1, "one search");
    drop(clone);
    until("no search", || tasks() == before).await;

    let redis = Redis::start().await;
    let there = limiter(&redis.url());
    assert!(ask(&there, "x", QUOTA).await.is_some());
    until("only the connection", || tasks() == before + 1).await;
    drop(there);
    until("no connection", || tasks() == before).await;
}

#[test]
fn a_search_moves_to_another_runtime_when_its_own_ends() {
    let run = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let first = run();
    let mut redis = first.block_on(Redis::absent(&[]));
    let emitted = Emitted::default();
    let limiter = limiter(&redis.url()).events(emitted.event_sink());
    assert_eq!(first.block_on(ask(&limiter, "x", QUOTA)), None);
    assert!(limiter.is_away());
    drop(first);
    assert!(!limiter.is_away(), "no task looks for it any longer");

    let second = run();
    second.block_on(redis.run());
    assert!(second.block_on(ask(&limiter, "x", QUOTA)).is_some());
    assert_eq!(emitted.pairs(), 1);
    drop(second);

    // The connection belonged to the second runtime.
    let third = run();
    third.block_on(async {
        assert_eq!(ask(&limiter, "x", QUOTA).await, None);
        until("back", || !limiter.is_away()).await;
        assert!(ask(&limiter, "x", QUOTA).await.is_some());
    });
}
