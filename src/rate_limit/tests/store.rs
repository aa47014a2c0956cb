use super::*;

#[tokio::test]
async fn a_full_table_can_refuse_new_keys() {
    let hand = Hand::default();
    let layer = hand
        .layer(Quota::per_minute(1))
        .max_keys(2)
        .when_full(WhenFull::Refuse);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    hand.pass(10 * SECOND);
    assert_eq!(status(&layer, from("192.0.2.2")).await, 200);
    let refused = ask(&layer, from("192.0.2.3")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "50");
    hand.pass(50 * SECOND);
    assert_eq!(status(&layer, from("192.0.2.3")).await, 200);
    assert_eq!(status(&layer, from("192.0.2.2")).await, 429, "it is kept");
    assert_eq!(layer.handle().forgotten(), 0);
    assert_eq!(layer.handle().refused(), 2);
}

#[test]
fn threads_on_one_key_get_the_burst_and_no_more() {
    let hand = Hand::default();
    let layer = hand.layer([Quota::per_second(1000), Quota::per_hour(500)]);
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let shared = layer.shared.as_ref().unwrap();
                for _ in 0..1000 {
                    let decision = shared.decide(&Key::from("one"), shared.clock.now());
                    passed.fetch_add(usize::from(decision.admitted), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_paused_tokio_clock_pauses_the_limiter() {
    let layer = RateLimitLayer::new(Quota::per_day(1)).unwrap();
    assert_eq!(status(&layer, Request::new(())).await, 200);
    assert_eq!(status(&layer, Request::new(())).await, 429);
    tokio::time::advance(Duration::from_secs(86_400)).await;
    assert_eq!(status(&layer, Request::new(())).await, 200);
}

/// A new key lowers the bound before which no key can be dead. Otherwise a dead key would be missed, and a live one
/// evicted in its place.
#[test]
fn a_new_key_that_dies_early_makes_room_for_the_next_one() {
    use super::shard::Shard;
    let encoded = [Quota::per_second(1).burst(10).encoded().unwrap()];
    let mut shard = Shard::new(&encoded, 2, Default::default());
    let second = SECOND.as_nanos() as u64;
    let mut take = |name: &str, now: u64| {
        let key = Key::from(name);
        let hash = std::hash::BuildHasher::hash_one(
            &std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default(),
            key,
        );
        shard.take(hash, &key, now, WhenFull::Forget)
    };
    for _ in 0..10 {
        assert!(take("old", 0).decision.admitted);
        assert!(take("older", 0).decision.admitted);
    }
    // Both live for ten seconds: one is evicted, and the bound is set to their end.
    assert!(take("brief", 0).full);
    // `brief` is dead after a second and makes room by itself.
    assert!(!take("new", 2 * second).full, "a live key was forgotten");
}
