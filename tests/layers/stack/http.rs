//! The stack as an HTTP client sees it, the same in every framework.

use std::time::Duration;

use lameduck::rate_limit::Quota;
use lameduck::{
    BodyLimitLayer, Lifecycle, Phase, RateLimitLayer, RealIpLayer, Stack, TimeoutLayer,
};
use reqwest::{Body, Client, RequestBuilder, Response};

use super::places::{self, Place};
use crate::support::{LIMIT, ms, within};

#[tokio::test]
async fn axum() {
    promises(places::axum).await;
}

#[tokio::test]
async fn axum_by_axum_serve() {
    promises(places::axum_by_axum_serve).await;
}

#[tokio::test]
async fn warp() {
    promises(places::warp).await;
}

#[tokio::test]
async fn service_fn() {
    promises(places::service_fn).await;
}

async fn promises(place: impl AsyncFn(Stack) -> Place) {
    a_request_passes_and_knows_its_client(&place).await;
    a_client_of_unknown_address_is_refused(&place).await;
    a_body_too_large_is_refused(&place).await;
    a_client_over_its_quota_is_refused(&place).await;
    a_slow_service_is_answered_for(&place).await;
    a_drain_refuses_and_closes(&place).await;
}

fn stack() -> Stack {
    lameduck::stack(&Lifecycle::new())
}

async fn send(request: RequestBuilder) -> Response {
    within(LIMIT, "an answer", request.send()).await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    Some(response.headers().get(name)?.to_str().unwrap())
}

async fn a_request_passes_and_knows_its_client(place: impl AsyncFn(Stack) -> Place) {
    let trusting = RealIpLayer::new("loopback".parse().unwrap());
    let stack = stack().real_ip(trusting);
    let in_flight = stack.in_flight_handle();
    let place = place(stack).await;
    let client = Client::new();
    let url = |path| format!("http://{}/{path}", place.addr);

    let answer = send(client.post(url("echo")).body("hello")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "hello");
    let asked = client
        .get(url("client"))
        .header("x-forwarded-for", "203.0.113.9");
    let answer = send(asked).await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert_eq!(text, "203.0.113.9 by 127.0.0.1 (forwarded)");
    within(LIMIT, "idle", in_flight.wait_idle()).await;
    assert_eq!(in_flight.peak(), 1);
}

async fn a_client_of_unknown_address_is_refused(place: impl AsyncFn(Stack) -> Place) {
    let place = place(stack().real_ip(RealIpLayer::hops(2).refuse_unknown())).await;
    let client = Client::new();
    let url = format!("http://{}/client", place.addr);
    let answer = send(client.get(&url)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        header(&answer, "content-type"),
        Some("text/plain; charset=utf-8")
    );

    let answer = send(client.get(&url).header("accept", "application/json")).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        header(&answer, "content-type"),
        Some("application/problem+json")
    );
    let problem: serde_json::Value =
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["status"], 400, "{problem}");
}

async fn a_body_too_large_is_refused(place: impl AsyncFn(Stack) -> Place) {
    let place = place(stack().body_limit(BodyLimitLayer::new(6))).await;
    let client = Client::new();
    let url = format!("http://{}/echo", place.addr);
    let pieces = |pieces: &[&'static str]| {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, std::io::Error>(*piece))
            .collect();
        Body::wrap_stream(tokio_stream::iter(pieces))
    };
    for (body, status) in [
        (Body::from("123456"), 200),
        (Body::from("1234567"), 413),
        (pieces(&["123", "456"]), 200),
        (pieces(&["123", "4567"]), 413),
    ] {
        let answer = send(client.post(&url).body(body)).await;
        assert_eq!(answer.status(), status);
    }
}

async fn a_client_over_its_quota_is_refused(place: impl AsyncFn(Stack) -> Place) {
    let limit = RateLimitLayer::new(Quota::per_hour(1)).unwrap();
    let trusting = RealIpLayer::new("loopback".parse().unwrap());
    let place = place(stack().real_ip(trusting).rate_limit(limit)).await;
    let client = Client::new();
    let ask = async |who| {
        let asked = client.get(format!("http://{}/client", place.addr));
        send(asked.header("x-forwarded-for", who)).await
    };
    assert_eq!(ask("203.0.113.9").await.status(), 200);
    let refused = ask("203.0.113.9").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(ask("203.0.113.10").await.status(), 200, "another client");
}

async fn a_slow_service_is_answered_for(place: impl AsyncFn(Stack) -> Place) {
    let stack = stack().timeout(TimeoutLayer::new(ms(50)));
    let in_flight = stack.in_flight_handle();
    let place = place(stack).await;
    let answer = send(Client::new().get(format!("http://{}/slow", place.addr))).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(header(&answer, "retry-after"), None);
    within(LIMIT, "idle", in_flight.wait_idle()).await;
}

async fn a_drain_refuses_and_closes(place: impl AsyncFn(Stack) -> Place) {
    let lifecycle = Lifecycle::new();
    let drain = lameduck::DrainLayer::new(&lifecycle).retry_after(Duration::from_secs(7));
    let place = place(lameduck::stack(&lifecycle).drain(drain)).await;
    let client = Client::new();
    let url = format!("http://{}/client", place.addr);
    let before = send(client.get(&url)).await;
    assert_eq!(before.status(), 200);
    assert_eq!(header(&before, "connection"), None);
    assert_eq!(
        before.text().await.unwrap(),
        "127.0.0.1 by 127.0.0.1 (peer)"
    );

    lifecycle.advance(Phase::Draining);
    let refused = send(client.get(&url)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(header(&refused, "connection"), Some("close"));
    assert_eq!(header(&refused, "retry-after"), Some("7"));
}
