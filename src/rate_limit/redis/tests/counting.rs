//! Admission by the shared count.

use super::*;

#[tokio::test]
async fn a_burst_is_admitted_and_a_refusal_says_when_to_come_back() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    let quota = Quota::per_second(2).burst(3);
    for left in [2, 1, 0] {
        let answer = ask(&limiter, "x", quota).await.unwrap();
        assert!(answer.admitted && answer.wait.is_zero());
        assert_eq!((answer.remaining, answer.quota), (left, 0));
        let full = ms(500) * (3 - left);
        assert!(
            answer.reset <= full && answer.reset + ms(400) > full,
            "{answer:?}"
        );
    }
    let refused = ask(&limiter, "x", quota).await.unwrap();
    assert!(!refused.admitted && refused.remaining == 0);
    assert!(
        refused.wait > ms(0) && refused.wait <= ms(500),
        "{refused:?}"
    );
    assert!(
        refused.reset > ms(1000) && refused.reset <= ms(1500),
        "{refused:?}"
    );

    tokio::time::sleep(refused.wait).await;
    assert!(ask(&limiter, "x", quota).await.unwrap().admitted);
    assert!(!ask(&limiter, "x", quota).await.unwrap().admitted);
}

#[tokio::test]
async fn several_quotas_all_admit_or_none_is_charged() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    let (wide, narrow) = (Quota::per_day(10), Quota::per_hour(2));
    let key = Key::from("x");
    let quotas = [wide, narrow];
    for left in [1, 0] {
        let answer = limiter.check(&key, &quotas).await.unwrap();
        assert_eq!(
            (answer.admitted, answer.quota, answer.remaining),
            (true, 1, left)
        );
    }
    for _ in 0..5 {
        let answer = limiter.check(&key, &quotas).await.unwrap();
        assert_eq!((answer.admitted, answer.quota), (false, 1));
        assert!(answer.wait > Duration::from_secs(1790), "{answer:?}");
    }
    // Of seven queries five were refused: the wide quota has lost two, and this one.
    assert_eq!(ask(&limiter, "x", wide).await.unwrap().remaining, 7);
    // The quotas in another order, with another burst, or of another key.
    let answer = limiter.check(&key, &[narrow, wide]).await.unwrap();
    assert_eq!((answer.admitted, answer.quota), (false, 0));
    assert!(ask(&limiter, "x", narrow.burst(1)).await.unwrap().admitted);
    assert!(ask(&limiter, "y", narrow).await.unwrap().admitted);
    let other = limiter.prefix("other");
    assert!(ask(&other, "x", narrow).await.unwrap().admitted);
}

#[tokio::test]
async fn quotas_are_kept_exactly_even_below_a_microsecond() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    for (quota, full) in [
        (Quota::per(3, Duration::from_secs(3600)).burst(3), 3600.0),
        (
            Quota::per(7_000_003, Duration::from_secs(7)).burst(40_000_000),
            0.0,
        ),
        (
            Quota::per(1, Duration::from_secs(366 * 86_400)).burst(10),
            366.0 * 86_400.0,
        ),
    ] {
        let answer = ask(&limiter, "x", quota).await.unwrap();
        assert!(answer.admitted);
        assert_eq!(answer.remaining, quota.largest_burst() - 1, "{quota}");
        let each = full / f64::from(quota.requests());
        assert!(
            (answer.reset.as_secs_f64() - each).abs() < 0.01,
            "{answer:?}"
        );
    }

    // 514285714 and 2/7 microseconds each (2000 of 7000 parts): seven of them make an hour, without loss.
    let quota = Quota::per_hour(7);
    let mut raw = raw(&redis).await;
    let mut stands = Vec::new();
    for _ in 0..7 {
        assert!(ask(&limiter, "x", quota).await.unwrap().admitted);
        let name = "lameduck:{text:x}:7/h";
        let at: String = redis::cmd("GET")
            .arg(name)
            .query_async(&mut raw)
            .await
            .unwrap();
        let (us, parts) = at.split_once(':').unwrap();
        stands.push((us.parse::<u64>().unwrap(), parts.parse::<u64>().unwrap()));
    }
    let parts: Vec<u64> = stands.iter().map(|(_, parts)| *parts).collect();
    assert_eq!(parts, [2000, 4000, 6000, 1000, 3000, 5000, 0]);
    assert_eq!(stands[6].0 - stands[0].0, 3_600_000_000 - 514_285_714);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_one_quota() {
    let redis = Redis::start().await;
    let instances = [limiter(&redis.url()), limiter(&redis.url())];
    // Quota that no one asks for is lost beyond the burst: five seconds' worth, more than a busy machine stands still.
    let quota = Quota::per_second(50).burst(250);
    let quota_of = |time: Duration| 50.0 * time.as_secs_f64();
    // A full burst loses what comes meanwhile, so it is spent first.
    let begin = Instant::now();
    let mut burst = 0;
    let (spent_from, spent_to) = loop {
        let asked = Instant::now();
        let answer = ask(&instances[burst % 2], "x", quota).await;
        if !answer.expect("Redis is there").admitted {
            break (asked, Instant::now());
        }
        burst += 1;
    };
    let most = 250.0 + quota_of(spent_to - begin) + 1.0;
    assert!(burst >= 250 && burst as f64 <= most, "{burst} of {most:.1}");
    let end = spent_to + ms(3000);
    let mut tasks = Vec::new();
    for instance in instances {
        for _ in 0..4 {
            let instance = instance.clone();
            tasks.push(tokio::spawn(async move {
                let mut admitted = 0_u32;
                // To a refusal: what there was to be had by then has been had.
                loop {
                    let asked = Instant::now();
                    let answer = ask(&instance, "x", quota).await.expect("Redis is there");
                    let answered = Instant::now();
                    admitted += u32::from(answer.admitted);
                    if !answer.admitted && answered >= end {
                        return (admitted, asked, answered);
                    }
                }
            }));
        }
    }
    let (mut admitted, mut refused_from, mut refused_to) = (0, spent_to, spent_to);
    for task in tasks {
        let (some, asked, answered) = task.await.unwrap();
        admitted += some;
        refused_from = refused_from.max(asked);
        refused_to = refused_to.max(answered);
    }
    // From one refusal to another, each somewhere between its question and its answer.
    let least = quota_of(refused_from - spent_to) - 2.0;
    let most = quota_of(refused_to - spent_from) + 2.0;
    let expected = format!("{admitted} admitted, {least:.1} to {most:.1} expected");
    println!("{expected}");
    let admitted = f64::from(admitted);
    assert!(admitted >= least && admitted <= most, "{expected}");
}

#[tokio::test]
async fn no_key_outlives_its_count() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    for key in 0..200_u64 {
        let quotas = [Quota::per_second(10).burst(5), Quota::per_minute(600)];
        assert!(
            limiter
                .check(&Key::from(key), &quotas)
                .await
                .unwrap()
                .admitted
        );
    }
    ask(&limiter, "day", Quota::per_day(24)).await.unwrap();
    let mut raw = raw(&redis).await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut raw)
        .await
        .unwrap();
    for key in &keys {
        assert!(key.starts_with("lameduck:{"), "{key}");
        let left: i64 = redis::cmd("PTTL")
            .arg(key)
            .query_async(&mut raw)
            .await
            .unwrap();
        let longest = if key.contains("day") { 3_600_001 } else { 101 };
        // -2: the key is gone.
        assert!((0..=longest).contains(&left) || left == -2, "{key} {left}");
    }
    tokio::time::sleep(ms(150)).await;
    for _ in 0..3 {
        // An expired key is removed on access, or at the latest by Redis's own sweep.
        let _: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut raw)
            .await
            .unwrap();
        tokio::time::sleep(ms(100)).await;
    }
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut raw)
        .await
        .unwrap();
    assert_eq!(keys, ["lameduck:{text:day}:24/d"]);
}

#[tokio::test]
async fn the_script_comes_back_after_a_flush() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    let mut raw = raw(&redis).await;
    for left in (0..5).rev() {
        let answer = ask(&limiter, "x", Quota::per_hour(5)).await.unwrap();
        assert_eq!((answer.admitted, answer.remaining), (true, left));
        let _: String = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut raw)
            .await
            .unwrap();
    }
    assert_eq!(limiter.fallbacks(), 0);
}

#[tokio::test]
async fn a_foreign_value_affects_its_key_alone() {
    let redis = Redis::start().await;
    let emitted = Emitted::default();
    let limiter = limiter(&redis.url()).events(emitted.event_sink());
    let mut raw = raw(&redis).await;
    let quota = Quota::per_hour(5);
    let name = |key: &str| format!("lameduck:{{text:{key}}}:{quota}");
    let _: i64 = redis::cmd("LPUSH")
        .arg(name("list"))
        .arg("x")
        .query_async(&mut raw)
        .await
        .unwrap();
    let _: String = redis::cmd("SET")
        .arg(name("text"))
        .arg("x")
        .query_async(&mut raw)
        .await
        .unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&limiter, "list", quota).await, None);
        assert_eq!(ask(&limiter, "text", quota).await, None);
    }
    assert_eq!(limiter.fallbacks(), 20);
    assert!(!limiter.is_away());
    assert!(ask(&limiter, "x", quota).await.unwrap().admitted);
    assert_eq!(emitted.all(), [""; 0]);
}

/// A clock is set back by hand, or by a failover to a server that is behind. The debt never exceeds the burst, and a
/// client that returns after its wait is admitted, not only when the clock has caught up.
#[tokio::test]
async fn a_clock_set_back_locks_out_no_client() {
    let redis = Redis::start().await;
    let limiter = limiter(&redis.url());
    let mut raw = raw(&redis).await;
    let slow = Quota::per_hour(5);
    let fast = Quota::per_second(10).burst(3);
    for quota in [slow, fast] {
        let _: String = redis::cmd("SET")
            .arg(format!("lameduck:{{text:future}}:{quota}"))
            .arg("8000000000000000:0")
            .query_async(&mut raw)
            .await
            .unwrap();
        let answer = ask(&limiter, "future", quota).await.unwrap();
        assert!(
            !answer.admitted && answer.wait <= quota.interval(),
            "{answer:?}"
        );
        if quota == fast {
            tokio::time::sleep(answer.wait).await;
            let answer = ask(&limiter, "future", quota).await.unwrap();
            assert!(answer.admitted, "{answer:?}");
        }
    }
}
