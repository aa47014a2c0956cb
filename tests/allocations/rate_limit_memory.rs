//! The memory of a rate limiter is bounded under a flood of keys.
#![cfg(feature = "rate-limit")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::RateLimitLayer;
use lameduck::rate_limit::{Key, Quota};
use tower::{Layer, Service, service_fn};

const MAX_KEYS: usize = 100_000;

fn answer(request: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    drop(request);
    ready(Ok(Response::new(Full::default())))
}

/// The number of keys: a hundred times the capacity where the code is optimized.
const CROWD: u64 = if cfg!(debug_assertions) {
    1_000_000
} else {
    10_000_000
};

/// Sends new keys, `a_second` of them a second. Returns the peak memory in bytes a key, and the number of live keys
/// that were evicted.
fn crowd(max_keys: usize, quotas: &[Quota], a_second: u64) -> (f64, u64) {
    let requests = Arc::new(AtomicU64::new(0));
    let now = requests.clone();
    let mut made = None;
    let make = || {
        let layer = RateLimitLayer::new(quotas.iter().copied())
            .unwrap()
            .max_keys(max_keys)
            .clock(move || Duration::from_secs(1) * now.load(Relaxed) as u32 / a_second as u32)
            .by({
                let requests = requests.clone();
                move |_| Some(Key::from(requests.fetch_add(1, Relaxed)))
            });
        made = Some((layer.handle(), layer.layer(service_fn(answer))));
    };
    let mut held = measure(make).bytes_current;
    let (handle, mut service) = made.expect("just made");
    let mut cx = Context::from_waker(Waker::noop());
    let mut most = held;
    for first in (0..CROWD).step_by(1024) {
        let some = || {
            for _ in first..CROWD.min(first + 1024) {
                let future = std::pin::pin!(service.call(Request::new(())));
                let Poll::Ready(Ok(response)) = future.poll(&mut cx) else {
                    panic!("it is ready at once");
                };
                assert_eq!(response.status(), 200, "a new key is admitted");
            }
        };
        held += measure(some).bytes_current;
        most = most.max(held);
        if first % 65_536 == 0 {
            assert!(handle.keys() <= max_keys);
        }
    }
    assert_eq!(requests.load(Relaxed), CROWD);
    let a_key = most as f64 / max_keys as f64;
    println!(
        "{} quotas, {CROWD} keys, {a_second} a second: {a_key:.1} bytes a key, {} kept, {} forgotten",
        quotas.len(),
        handle.keys(),
        handle.forgotten(),
    );
    (a_key, handle.forgotten())
}

#[test]
fn many_keys_stay_within_the_stated_memory() {
    // All keys are live: live ones are evicted.
    let (a_key, forgotten) = crowd(MAX_KEYS, &[Quota::per_hour(100)], 1_000_000);
    assert!(a_key < 100.0, "{a_key} bytes a key");
    assert!(forgotten >= CROWD - MAX_KEYS as u64, "{forgotten}");
    let (a_key, _) = crowd(MAX_KEYS, &[Quota::per_hour(100); 4], 1_000_000);
    assert!(a_key < 124.0, "{a_key} bytes a key with four quotas");

    // This number of keys makes the table largest.
    let (a_key, _) = crowd(1793, &[Quota::per_hour(100)], 1_000_000);
    assert!(a_key < 100.0, "{a_key} bytes a key");

    // One second of keys is live at a time, and there is room for more: none is lost.
    let (a_key, forgotten) = crowd(MAX_KEYS, &[Quota::per_second(1)], 80_000);
    assert!(a_key < 100.0, "{a_key} bytes a key");
    assert_eq!(forgotten, 0);
}
