mod keys;
mod store;

use super::*;
use crate::events::{Event, EventSink};
use crate::reply::ReplyBody;
use crate::{ClientIp, ClientIpSource, ConnInfo};
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

type Answer = Response<ReplyBody<Full<Bytes>>>;

/// A clock that moves only on demand.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn set(&self, to: Duration) {
        self.0.store(to.as_nanos() as u64, Ordering::SeqCst);
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }

    fn layer(&self, quotas: impl IntoIterator<Item = Quota>) -> RateLimitLayer {
        let now = self.0.clone();
        RateLimitLayer::new(quotas)
            .unwrap()
            .clock(move || Duration::from_nanos(now.load(Ordering::SeqCst)))
    }
}

async fn ask(layer: &RateLimitLayer, request: Request<()>) -> Answer {
    let service = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::from("hello")))
    });
    layer.layer(service).oneshot(request).await.unwrap()
}

async fn status(layer: &RateLimitLayer, request: Request<()>) -> u16 {
    ask(layer, request).await.status().as_u16()
}

fn from(address: &str) -> Request<()> {
    let mut request = Request::new(());
    let peer = std::net::SocketAddr::new(address.parse().unwrap(), 1234);
    request
        .extensions_mut()
        .insert(ConnInfo::new(Some(peer), None));
    request
}

fn with_header(request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    let mut request = request;
    request
        .headers_mut()
        .insert(HeaderName::from_static(name), value.parse().unwrap());
    request
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_burst_passes_then_429_and_a_return_after_the_wait_is_admitted() {
    let hand = Hand::default();
    let layer = hand.layer(Quota::per_minute(6).burst(3)); // one per 10 s
    for _ in 0..3 {
        assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    }
    hand.pass(Duration::from_millis(500));
    let refused = ask(&layer, from("192.0.2.1")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "10", "9.5 s, rounded up");
    assert!(!refused.headers().contains_key("connection"));
    assert_eq!(status(&layer, from("192.0.2.2")).await, 200, "another one");
    hand.pass(10 * SECOND);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 429);
    assert_eq!(layer.handle().refused(), 2);
    assert_eq!(layer.handle().keys(), 2);
    assert_eq!(layer.handle().forgotten(), 0);
}

#[tokio::test]
async fn the_rate_matches_the_quota() {
    for (a_second, every) in [(10, 7), (100, 1), (7, 3), (1, 50)] {
        let hand = Hand::default();
        let layer = hand.layer(Quota::per_second(a_second).burst(1));
        let mut passed = 0;
        for millis in (0..10_000).step_by(every) {
            hand.set(Duration::from_millis(millis));
            passed += u32::from(status(&layer, from("192.0.2.1")).await == 200);
        }
        assert!(passed <= 10 * a_second + 1, "{a_second}/s: {passed}");
        // A client that polls in steps misses a little of the refill.
        let missed = passed as f64 / f64::from(10 * a_second);
        assert!(missed > 0.90, "{a_second}/s: {passed}");
    }
}

#[tokio::test]
async fn a_refused_request_consumes_no_quota() {
    let hand = Hand::default();
    let layer = hand.layer([Quota::per_second(2), Quota::per_hour(4)]);
    for _ in 0..2 {
        assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    }
    for _ in 0..100 {
        let refused = ask(&layer, from("192.0.2.1")).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "1");
    }
    hand.pass(SECOND);
    for _ in 0..2 {
        assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    }
    // Both quotas refuse: the response carries the longer wait.
    let refused = ask(&layer, from("192.0.2.1")).await;
    assert_eq!(refused.headers()["retry-after"], "899");
    hand.pass(SECOND);
    assert_eq!(
        status(&layer, from("192.0.2.1")).await,
        429,
        "the hour's four"
    );
    hand.pass(898 * SECOND);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
}

#[test]
fn no_quota_and_too_many_are_refused() {
    let one = Quota::per_second(1);
    assert!(RateLimitLayer::new(one).is_ok());
    assert!(RateLimitLayer::new([one; 4]).is_ok());
    for quotas in [vec![], vec![one; 5]] {
        let error = RateLimitLayer::new(quotas).unwrap_err().to_string();
        assert!(error.contains("1 to 4"), "{error}");
    }
    assert!(RateLimitLayer::new(std::iter::repeat(one)).is_err());
    let error = RateLimitLayer::new([one, one.burst(0)]).unwrap_err();
    assert!(error.to_string().contains("the minimum is 1"), "{error}");
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_form_without_fields() {
    let hand = Hand::default();
    let layer = hand
        .layer(Quota::per_second(4).burst(1))
        .fields(Fields::RateLimit);
    let call = || {
        let post = Request::post("/").body(()).unwrap();
        with_header(post, "content-type", "application/grpc")
    };
    ask(&layer, call()).await;
    let refused = ask(&layer, call()).await;
    assert_eq!(refused.status(), 200);
    assert_eq!(refused.headers()["grpc-status"], "8");
    assert_eq!(refused.headers()["grpc-retry-pushback-ms"], "250");
    assert!(!refused.headers().contains_key("ratelimit"));
    assert!(!refused.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn fields_report_the_remaining_quota() {
    let hand = Hand::default();
    let quotas = [Quota::per_second(100), Quota::per_minute(60).burst(3)];
    let layer = hand.layer(quotas).fields(Fields::RateLimit);
    for expected in ["r=2;t=1", "r=1;t=2", "r=0;t=3", "r=0;t=1"] {
        let answer = ask(&layer, Request::new(())).await;
        let head = answer.headers();
        assert_eq!(
            head["ratelimit-policy"],
            "\"100/s\";q=100;w=1, \"60/m burst 3\";q=60;w=60"
        );
        let expected = format!("\"60/m burst 3\";{expected}");
        assert_eq!(head["ratelimit"], expected.as_str());
    }

    let odd = Quota::per(3, Duration::from_micros(1500));
    let layer = hand.layer(odd).fields(Fields::RateLimit);
    let answer = ask(&layer, Request::new(())).await;
    assert_eq!(answer.headers()["ratelimit-policy"], "\"3/1.5ms\";q=3");

    let layer = hand.layer(quotas).fields(Fields::XRateLimit);
    for (remaining, reset) in [("2", "1"), ("1", "2"), ("0", "3"), ("0", "1")] {
        let answer = ask(&layer, Request::new(())).await;
        assert_eq!(answer.headers()["x-ratelimit-limit"], "3");
        assert_eq!(answer.headers()["x-ratelimit-remaining"], remaining);
        assert_eq!(answer.headers()["x-ratelimit-reset"], reset);
        assert_eq!(
            answer.status() == 429,
            answer.headers().contains_key("retry-after")
        );
    }
}

#[tokio::test]
async fn each_refusal_and_each_full_table_is_emitted() {
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let events = {
        let emitted = emitted.clone();
        EventSink::to(move |event| emitted.lock().unwrap().push(event.to_string()))
    };
    let hand = Hand::default();
    let layer = hand.layer(Quota::per_hour(1)).max_keys(1).events(events);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    assert!(emitted.lock().unwrap().is_empty());
    assert_eq!(status(&layer, from("192.0.2.1")).await, 429);
    assert_eq!(status(&layer, from("192.0.2.2")).await, 200);
    let expected = [
        "refused: rate_limited GET / (192.0.2.1:1234)".to_owned(),
        Event::RateLimitFull.to_string(),
    ];
    assert_eq!(*emitted.lock().unwrap(), expected);
    assert_eq!((layer.handle().forgotten(), layer.handle().keys()), (1, 1));
}
