use super::*;

#[tokio::test]
async fn handles_are_read_at_the_scrape() {
    let metrics = Metrics::new();
    assert_eq!(samples(&scrape(&metrics), "lameduck_in_flight_requests"), 0);
    let layers = [InFlightLayer::new(), InFlightLayer::new()];
    metrics
        .in_flight(layers[0].handle())
        .in_flight(layers[1].handle());
    let mut answers = Vec::new();
    for layer in layers.iter().chain(&layers[..1]) {
        let service = layer.layer(service_fn(hello));
        answers.push(service.oneshot(get("/")).await.unwrap());
    }
    let of = |name: &str| value(&scrape(&metrics), name, &[]);
    assert_eq!(of("lameduck_in_flight_requests"), 3.0);
    answers.clear();
    assert_eq!(of("lameduck_in_flight_requests"), 0.0);
    assert_eq!(of("lameduck_in_flight_requests_peak"), 3.0);
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn the_keys_of_a_rate_limit() {
    use crate::rate_limit::{Quota, RateLimitLayer};
    let metrics = Metrics::new();
    let layer = RateLimitLayer::new(Quota::per_second(1))
        .unwrap()
        .by_header(http::HeaderName::from_static("key"));
    metrics.rate_limit(layer.handle());
    let service = layer.layer(service_fn(hello));
    for key in ["a", "b", "b"] {
        let mut request = get("/");
        request.headers_mut().insert("key", key.parse().unwrap());
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(
        value(&scrape(&metrics), "lameduck_rate_limit_keys", &[]),
        2.0
    );
}
