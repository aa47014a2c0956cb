//! Tests against a real redis-server, stopped, paused and broken.

#[path = "../../../tests/support/redis.rs"]
mod server;

mod away;
mod counting;
mod pauses;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use self::server::Redis;
use super::RedisLimiter;
use crate::events::{Event, EventSink};
use crate::rate_limit::decision::Decision;
use crate::rate_limit::{Key, Quota};

const LIMIT: Duration = Duration::from_secs(15);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns a limiter with a deadline that a busy machine can meet.
fn limiter(url: &str) -> RedisLimiter {
    RedisLimiter::new(url).unwrap().deadline(ms(2000))
}

async fn ask(limiter: &RedisLimiter, key: &str, quota: Quota) -> Option<Decision> {
    limiter.check(&Key::from(key), &[quota]).await
}

/// Waits until the condition holds.
async fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// The events emitted by the limiter.
#[derive(Clone, Default)]
struct Emitted(Arc<Mutex<Vec<String>>>);

impl Emitted {
    fn event_sink(&self) -> EventSink {
        let emitted = self.0.clone();
        EventSink::to(move |event| {
            let text = match event {
                Event::RateLimitFallback { error } => format!("fallback: {error}"),
                Event::RateLimitRestored => "restored".to_owned(),
                other => panic!("{other}"),
            };
            emitted.lock().unwrap().push(text);
        })
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Counts the pairs of a fallback followed by a return.
    fn pairs(&self) -> usize {
        let all = self.all();
        for (at, text) in all.iter().enumerate() {
            assert_eq!(text == "restored", at % 2 == 1, "{all:?}");
        }
        all.len() / 2
    }
}

/// Connects directly to Redis.
async fn raw(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[test]
fn a_wrong_url_is_refused_without_its_password() {
    for url in [
        "",
        "localhost",
        "http://:hunter2@localhost",
        "redis://:hunter2@",
        "redis://:hunter2#@localhost",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2@localhost/shop",
        "redis://:hunter2@localhost/-1",
        "redis://:hunter2@localhost?protocol=hunter2",
        "rediss://:hunter2@localhost",
        "redis://:hunter2@0.0.0.0",
    ] {
        let error = RedisLimiter::new(url).expect_err(url);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(error.to_string().starts_with("invalid Redis URL: "));
    }
    let limiter = RedisLimiter::new("redis://user:hunter2@localhost:7000/3").unwrap();
    let shown = format!("{limiter:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("localhost:7000"), "{shown}");
    for url in [
        "redis://[::1]:1/0",
        "unix:///tmp/redis.sock?db=2",
        "valkey://host",
    ] {
        RedisLimiter::new(url).unwrap();
    }
}

#[tokio::test]
async fn a_password_and_the_documented_acl_suffice() {
    let options = "--requirepass secret \
                   --user limit on >secret ~lameduck:* +evalsha +script|load +time +get +set";
    let options: Vec<&str> = options.split_whitespace().collect();
    let redis = Redis::with(&options).await;
    for who in [":secret", "limit:secret"] {
        let limiter = limiter(&redis.url_as(who));
        let answer = ask(&limiter, who, Quota::per_second(5)).await.unwrap();
        assert_eq!((answer.admitted, answer.remaining), (true, 4));
    }
    let emitted = Emitted::default();
    let wrong = limiter(&redis.url_as(":hunter2")).events(emitted.event_sink());
    assert_eq!(ask(&wrong, "x", Quota::per_second(5)).await, None);
    assert!(wrong.is_away());
    assert_eq!(wrong.fallbacks(), 1);
    let all = emitted.all();
    assert!(all.len() == 1 && !all[0].contains("hunter2"), "{all:?}");
}

/// A measurement, run by hand: `LAMEDUCK_MEASURE=5 cargo test --release … measured --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measured_with_64_concurrent_queries() {
    let seconds = std::env::var("LAMEDUCK_MEASURE").map_or(0.2, |text| text.parse().unwrap());
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    ask(&limiter, "x", Quota::per_second(5)).await.unwrap();
    let begin = Instant::now();
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begin.elapsed().as_secs_f64() < seconds {
                    let asked = Instant::now();
                    let key = Key::from(task * 100 + took.len() as u64 % 100);
                    let quotas = [Quota::per_second(1000).burst(100)];
                    assert!(limiter.check(&key, &quotas).await.is_some());
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took.sort_unstable();
    println!(
        "{:.0} questions/s, p50 {:?}, p99 {:?}, longest {:?}",
        took.len() as f64 / begin.elapsed().as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1],
    );
    assert_eq!(limiter.fallbacks(), 0);
}
