#[cfg(all(feature = "metrics", feature = "rate-limit", feature = "tracing"))]
mod differential;

use super::*;
use crate::events::EventSink;
use crate::{
    BodyLimitLayer, CatchPanicLayer, DrainLayer, InFlightLayer, Lifecycle, RealIpLayer,
    RequestIdLayer, TimeoutLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

use crate::phase::Phase;

/// Reads its whole request, unless it is asked to wait.
async fn read<B: Body>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/wait" {
        std::future::pending::<()>().await;
    }
    let read = request.into_body().collect().await;
    let answer = if read.is_ok() { "read" } else { "failed" };
    Ok(Response::new(Full::from(answer)))
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::new(body.into())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_defaults_are_the_documented_ones() {
    let lifecycle = Lifecycle::new();
    let stack = stack(&lifecycle);
    let service = stack.layer(service_fn(read));
    let status = async |request| service.clone().oneshot(request).await.unwrap().status();

    assert_eq!(status(post("/", vec![0; 2 << 20])).await, 200);
    assert_eq!(status(post("/", vec![0; (2 << 20) + 1])).await, 413);
    let began = tokio::time::Instant::now();
    assert_eq!(status(post("/wait", "")).await, 503);
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(stack.in_flight_handle().peak(), 1);
    lifecycle.advance(Phase::Draining);
    assert_eq!(status(post("/", "")).await, 503);
    assert_eq!(stack.in_flight_handle().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_layer_can_be_off() {
    let lifecycle = Lifecycle::new();
    let stack = stack(&lifecycle)
        .in_flight(InFlightLayer::off())
        .drain(DrainLayer::off())
        .real_ip(RealIpLayer::off())
        .body_limit(BodyLimitLayer::off())
        .timeout(TimeoutLayer::off())
        .catch_panic(CatchPanicLayer::off());
    lifecycle.advance(Phase::Draining);
    let service = stack.layer(service_fn(read));
    let answer = service.clone().oneshot(post("/", vec![0; 2 << 20])).await;
    assert_eq!(answer.unwrap().status(), 200);
    let slow = service.oneshot(post("/wait", ""));
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, slow).await.is_err());
    assert_eq!(stack.in_flight_handle().peak(), 0);
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn a_request_is_refused_by_the_outermost_layer_that_would() {
    use crate::rate_limit::Quota;
    use std::sync::{Arc, Mutex};

    let lifecycle = Lifecycle::new();
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let listener = emitted.clone();
    let stack = stack(&lifecycle)
        .rate_limit(crate::RateLimitLayer::new(Quota::per_day(1)).unwrap())
        .body_limit(BodyLimitLayer::new(4))
        .events(EventSink::to(move |event| {
            listener.lock().unwrap().push(event.to_string());
        }));
    let service = stack.layer(service_fn(read));
    let status = async |request| service.clone().oneshot(request).await.unwrap().status();

    assert_eq!(status(post("/", "too large")).await, 413);
    assert_eq!(status(post("/", "too large")).await, 429);
    lifecycle.advance(Phase::Draining);
    assert_eq!(status(post("/", "too large")).await, 503);
    assert_eq!(
        *emitted.lock().unwrap(),
        [
            "client address: unknown",
            "refused: body_too_large POST /",
            "client address: unknown",
            "refused: rate_limited POST /",
            "client address: unknown",
            "refused: draining POST /",
        ]
    );
}

#[tokio::test]
async fn layer_given_after_the_listener_emits_to_it_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let refused = std::sync::Arc::new(AtomicUsize::new(0));
    let count = refused.clone();
    let events = EventSink::to(move |event| {
        if matches!(event, crate::events::Event::Refused { .. }) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let lifecycle = Lifecycle::new();
    let service = stack(&lifecycle)
        .events(events.clone())
        .body_limit(BodyLimitLayer::new(1).events(events.clone()))
        .layer(service_fn(read));
    lifecycle.listen(events);
    let answer = service.oneshot(post("/", "ab")).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn default_body_limit_leaves_grpc_calls_to_their_library() {
    let lifecycle = Lifecycle::new();
    let call = || {
        let mut request = post("/shop.Orders/Upload", vec![0; 3 << 20]);
        let kind = "application/grpc+proto".parse().unwrap();
        request.headers_mut().insert("content-type", kind);
        request
    };
    let default = stack(&lifecycle).layer(service_fn(read));
    let answer = default.oneshot(call()).await.unwrap();
    assert!(!answer.headers().contains_key("grpc-status"));
    let set = stack(&lifecycle)
        .body_limit(BodyLimitLayer::new(2 << 20))
        .layer(service_fn(read));
    let answer = set.oneshot(call()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert_eq!(
        answer.headers()["grpc-message"],
        "the request body is larger than 2097152 bytes"
    );
}

#[tokio::test]
async fn panic_is_answered_counted_and_has_an_id() {
    let lifecycle = Lifecycle::new();
    let layers = stack(&lifecycle).request_id(RequestIdLayer::new());
    let in_flight = layers.in_flight_handle();
    let service = layers.layer(service_fn(
        |request: Request<crate::body_limit::BodyLimitBody<Full<Bytes>>>| async move {
            assert_ne!(request.uri().path(), "/panic");
            read(request).await
        },
    ));
    let answer = service.oneshot(post("/panic", "")).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!((in_flight.count(), in_flight.peak()), (1, 1));
    drop(answer);
    assert_eq!(in_flight.count(), 0);
}
