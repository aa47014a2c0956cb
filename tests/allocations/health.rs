//! Heap allocations of the health layer: none for other requests, and none for a probe without details.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::health::{Details, Health, HealthLayer};
use lameduck::{Lifecycle, Phase};
use tower::{Layer, service_fn};

use super::cost;

/// Counts the allocations from the call to the end of the body.
fn allocations(layer: &HealthLayer, path: &'static str, status: u16) -> usize {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let body = Full::new(Bytes::from_static(b"hello"));
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    // The request is an ordinary probe: the answer is built in its header map.
    let request = Request::get(path)
        .header("host", "10.0.0.1:8080")
        .header("user-agent", "kube-probe/1.33")
        .header("accept", "*/*")
        .body(())
        .unwrap();
    let (answered, allocations) = cost(&mut service, request);
    assert_eq!(answered, status, "{path}");
    allocations
}

#[tokio::test]
async fn health_layer_allocates_nothing() {
    let lifecycle = Lifecycle::new();
    let health = Health::new(&lifecycle)
        .version("1.2.3")
        .cache(Duration::from_secs(3600))
        .check("db", || async { Ok::<_, Infallible>(()) });
    let layer = health.layer();
    assert_eq!(allocations(&HealthLayer::off(), "/readyz", 200), 0, "off");
    assert_eq!(allocations(&layer, "/readyz", 503), 0, "starting");
    assert_eq!(allocations(&layer, "/startupz", 503), 0);
    lifecycle.advance(Phase::Ready);
    health.readiness_report().await;
    assert_eq!(allocations(&layer, "/", 200), 0, "what passes");
    assert_eq!(allocations(&layer, "/readyz", 200), 0, "cached");
    assert_eq!(allocations(&layer, "/healthz", 200), 0);
    assert_eq!(allocations(&layer, "/startupz", 200), 0);
    lifecycle.advance(Phase::LameDuck);
    assert_eq!(allocations(&layer, "/readyz", 503), 0, "leaving");

    let detailed = health.details(Details::always()).layer();
    let allocated = allocations(&detailed, "/readyz", 503);
    assert!(allocated <= 2, "the details are one text: {allocated}");
}
