//! The layer with a limit that instances share, against a real redis-server.
#![cfg(feature = "redis")]

#[path = "../support/redis.rs"]
mod redis;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::RateLimitLayer;
use lameduck::rate_limit::redis::RedisLimiter;
use lameduck::rate_limit::{Fields, Quota};
use redis::Redis;
use tower::{Layer, Service, ServiceExt};

/// A service that must be ready for each call, and counts the calls.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

/// A clone is not ready because the original was.
impl Clone for Strict {
    fn clone(&self) -> Self {
        Strict {
            ready: false,
            calls: self.calls.clone(),
        }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        self.calls.fetch_add(1, SeqCst);
        ready(Ok(Response::new(Full::default())))
    }
}

/// Returns an instance with its own connection, and a deadline that a busy machine keeps.
fn instance(redis: &Redis) -> RateLimitLayer {
    let limiter = RedisLimiter::new(&redis.url()).unwrap();
    RateLimitLayer::new([Quota::per_hour(3), Quota::per_day(100)])
        .unwrap()
        .fields(Fields::RateLimit)
        .redis(limiter.deadline(Duration::from_secs(2)))
}

#[tokio::test]
async fn instances_share_one_count() {
    let redis = Redis::start().await;
    let strict = Strict::default();
    let mut services = [(); 2].map(|()| instance(&redis).layer(strict.clone()));
    let mut answers = Vec::new();
    for turn in 0..6 {
        let service = services[turn % 2].ready().await.unwrap();
        let answer = service.call(Request::new(())).await.unwrap();
        let left = answer.headers()["ratelimit"].to_str().unwrap();
        let left = left.split(';').nth(1).unwrap().to_owned();
        answers.push((answer.status().as_u16(), left));
        if answer.status() == 429 {
            let wait: u32 = answer.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((1100..=1200).contains(&wait), "{wait}");
        }
    }
    let expected = [
        (200, "r=2"),
        (200, "r=1"),
        (200, "r=0"),
        (429, "r=0"),
        (429, "r=0"),
        (429, "r=0"),
    ];
    assert_eq!(
        answers,
        expected.map(|(status, left)| (status, left.to_owned()))
    );
    assert_eq!(strict.calls.load(SeqCst), 3);
}

#[tokio::test]
async fn instances_count_alone_without_redis() {
    let redis = Redis::absent(&[]).await;
    let layer = instance(&redis);
    for instance in [&layer, &instance(&redis)] {
        for expected in [200, 200, 200, 429] {
            let service = instance.layer(Strict::default());
            let answer = service.oneshot(Request::new(())).await.unwrap();
            assert_eq!(answer.status(), expected);
        }
    }
    assert_eq!(layer.handle().keys(), 1);
    assert_eq!(layer.handle().refused(), 1);
}

#[tokio::test]
async fn request_cancelled_while_redis_is_asked_never_reaches_the_service() {
    let redis = Redis::start().await;
    let strict = Strict::default();
    let mut service = instance(&redis).layer(strict.clone());
    {
        let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending(), "Redis is asked");
    }
    assert_eq!(strict.calls.load(SeqCst), 0);
    let answer = service.ready().await.unwrap().call(Request::new(())).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(strict.calls.load(SeqCst), 1);
}
