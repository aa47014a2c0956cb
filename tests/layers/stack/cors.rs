//! CORS belongs outside the stack, so that preflights are not counted and refusals have its headers.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use lameduck::rate_limit::Quota;
use lameduck::{Lifecycle, Phase, RateLimitLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::{Any, CorsLayer};

fn from_a_page(method: Method) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method.clone())
        .uri("/")
        .header("origin", "https://a.example");
    if method == Method::OPTIONS {
        request = request.header("access-control-request-method", "GET");
    }
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn cors_outside_the_stack_leaves_preflights_uncounted_and_refusals_readable() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let stack =
        lameduck::stack(&lifecycle).rate_limit(RateLimitLayer::new(Quota::per_hour(2)).unwrap());
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET]);
    let handler =
        service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) });
    let service = ServiceBuilder::new()
        .layer(cors)
        .layer(stack)
        .service(handler);
    for _ in 0..10 {
        let preflight = service
            .clone()
            .oneshot(from_a_page(Method::OPTIONS))
            .await
            .unwrap();
        assert_eq!(preflight.status(), 200);
        assert_eq!(preflight.headers()["access-control-allow-methods"], "GET");
    }
    for status in [200, 200, 429] {
        let answer = service
            .clone()
            .oneshot(from_a_page(Method::GET))
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(
            answer.headers()["access-control-allow-origin"],
            "*",
            "{status}"
        );
    }
    lifecycle.advance(Phase::Draining);
    let refused = service.oneshot(from_a_page(Method::GET)).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
}
