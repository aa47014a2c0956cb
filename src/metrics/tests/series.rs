use super::*;
use crate::metrics::histogram::Bounds;
use http::Method;
use std::time::Duration;

#[tokio::test]
async fn an_invented_method_is_other() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(hello));
    for method in ["GET", "PATCH", "QUERY", "BREW", "get", "X-1"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request::builder().method(method).body(()).unwrap();
        ask(service.clone(), request).await;
    }
    let scrape = scrape(&metrics);
    for (method, count) in [
        ("GET", 1.0),
        ("PATCH", 1.0),
        ("QUERY", 1.0),
        ("_OTHER", 3.0),
    ] {
        let method = format!("http_request_method=\"{method}\"");
        assert_eq!(value(&scrape, DURATION, &[&method]), count);
    }
    assert_eq!(samples(&scrape, DURATION), 4);
}

#[tokio::test]
async fn a_route_comes_from_the_function_or_is_unmatched() {
    let metrics = Metrics::builder()
        .route(|head| head.uri.path().starts_with("/a/").then_some("/a/{id}"))
        .build();
    let service = metrics.layer().layer(service_fn(hello));
    for path in ["/a/1", "/a/2", "/b"] {
        ask(service.clone(), get(path)).await;
    }
    let scrape = scrape(&metrics);
    assert_eq!(value(&scrape, DURATION, &["http_route=\"/a/{id}\""]), 2.0);
    assert_eq!(value(&scrape, DURATION, &["http_route=\"unmatched\""]), 1.0);
    assert_eq!(samples(&scrape, DURATION), 2);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_route_that_axum_matched_around_the_whole_stack() {
    use axum::{Router, body::Body, routing};
    let metrics = Metrics::builder()
        .route(|head| (head.uri.path() == "/mine/1").then_some("mine"))
        .build();
    let lifecycle = crate::Lifecycle::new();
    let nested = Router::new().route("/c", routing::get(|| async { "c" }));
    let app: Router = Router::new()
        .route("/users/{id}", routing::get(|| async { "a" }))
        .route("/mine/{id}", routing::get(|| async { "b" }))
        .nest("/nested", nested)
        .layer(crate::stack(&lifecycle).events(metrics.event_sink()))
        .layer(metrics.layer());
    for (path, status) in [
        ("/users/1", 200),
        ("/users/2", 200),
        ("/mine/1", 200),
        ("/mine/2", 200),
        ("/nested/c", 200),
        ("/nowhere", 404),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        answer.into_body().collect().await.unwrap();
    }
    let scrape = scrape(&metrics);
    for (route, count) in [
        ("/users/{id}", 2.0),
        ("mine", 1.0),
        ("/mine/{id}", 1.0),
        ("/nested/c", 1.0),
        ("unmatched", 1.0),
    ] {
        let route = format!("http_route=\"{route}\"");
        assert_eq!(value(&scrape, DURATION, &[&route]), count);
    }
    let addresses = "lameduck_client_address_total";
    assert_eq!(value(&scrape, addresses, &["\"unknown\""]), 6.0);
}

#[tokio::test]
async fn beyond_the_cap_series_are_folded_and_counted() {
    let metrics = by_path().max_series(10).build();
    let service = metrics.layer().layer(service_fn(hello));
    for number in 0..100 {
        ask(service.clone(), get(&format!("/{number}"))).await;
    }
    // Known series stay known.
    ask(service.clone(), get("/0")).await;
    ask(service.clone(), Request::post("/x").body(()).unwrap()).await;
    let scrape = scrape(&metrics);
    let folded = |method| {
        let labels = [
            "http_route=\"_other\"",
            "code=\"2xx\"",
            "version=\"\"",
            method,
        ];
        value(&scrape, DURATION, &labels)
    };
    assert_eq!(folded("\"GET\""), 90.0);
    assert_eq!(folded("\"POST\""), 1.0);
    assert_eq!(value(&scrape, DURATION, &["http_route=\"/0\""]), 2.0);
    assert_eq!(samples(&scrape, DURATION), 12);
    let count = "lameduck_metrics_series_folded_total";
    assert_eq!(value(&scrape, count, &[]), 91.0);
    let head = "lameduck_http_time_to_head_seconds_count";
    assert_eq!(samples(&scrape, head), 12);
    assert_eq!(value(&scrape, head, &["_other", "GET"]), 90.0);
}

#[tokio::test]
async fn a_known_route_with_a_new_end_is_folded_too() {
    let metrics = by_path().max_series(1).build();
    let service = metrics.layer().layer(service_fn(|request: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::default());
        if request.headers().contains_key("fail") {
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        }
        ready(Ok::<_, Infallible>(response))
    }));
    ask(service.clone(), get("/a")).await;
    let mut request = get("/a");
    request.headers_mut().insert("fail", "yes".parse().unwrap());
    ask(service.clone(), request).await;
    let scrape = scrape(&metrics);
    let labels = [
        "_other",
        "http_response_status_code=\"5xx\"",
        "error_type=\"5xx\"",
    ];
    assert_eq!(value(&scrape, DURATION, &labels), 1.0);
    let count = "lameduck_metrics_series_folded_total";
    assert_eq!(value(&scrape, count, &[]), 1.0);
}

#[tokio::test]
async fn a_route_without_end_is_none() {
    let metrics = by_path().build();
    let service = metrics.layer().layer(service_fn(hello));
    ask(service, get(&format!("/{}", "x".repeat(600)))).await;
    assert_eq!(value(&scrape(&metrics), DURATION, &["\"_other\""]), 1.0);
}

#[tokio::test]
async fn label_values_are_escaped() {
    let metrics = Metrics::builder()
        .route(|_| Some("a\"b\\c\nd # {e"))
        .build();
    ask(metrics.layer().layer(service_fn(hello)), get("/")).await;
    let scrape = scrape(&metrics);
    let route = r#"http_route="a\"b\\c\nd # {e""#;
    assert_eq!(value(&scrape, DURATION, &[route]), 1.0);
    assert!(scrape.ends_with('\n'));
    assert!(
        scrape
            .lines()
            .all(|line| line.starts_with('#') || line.rsplit_once(' ').is_some())
    );
}

#[test]
fn many_threads_add_up() {
    const THREADS: usize = 8;
    const EACH: usize = 2_000;
    let metrics = by_path().max_series(40).build();
    let service = metrics.layer().layer(service_fn(hello));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let service = service.clone();
            let metrics = metrics.clone();
            scope.spawn(move || {
                for request in 0..EACH {
                    // All threads create the same series at about the same time, and more than the limit.
                    let request = get(&format!("/{}", request % 60));
                    poll_now(ask(service.clone(), request));
                }
                if thread == 0 {
                    scrape(&metrics);
                }
            });
        }
    });
    let scrape = scrape(&metrics);
    let sum = |name: &str| -> f64 {
        let lines = scrape
            .lines()
            .filter(|line| line.split('{').next() == Some(name));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    };
    let all = (THREADS * EACH) as f64;
    assert_eq!(sum(DURATION), all);
    assert_eq!(sum("lameduck_http_time_to_head_seconds_count"), all);
    assert_eq!(sum("http_server_response_body_size_bytes_sum"), all * 5.0);
    assert_eq!(sum("http_server_active_requests"), 0.0);
    assert_eq!(
        samples(&scrape, DURATION),
        41,
        "the cap, and what is folded"
    );
    // Each of the 40 series has its share, and no two have the same route.
    let own = scrape
        .lines()
        .filter(|line| line.starts_with(DURATION) && !line.contains("_other"));
    let routes: std::collections::HashSet<_> =
        own.map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(routes.len(), 40);
}

#[test]
fn a_bucket_holds_its_bound_and_the_last_one_the_rest() {
    let bounds = Bounds::seconds(&[0.1, 0.01, f64::NAN, -1.0, 0.0, 0.1, f64::INFINITY]);
    let histogram = bounds.histogram();
    for ms in [10, 11, 100, 101, 5_000] {
        histogram.observe_duration(&bounds, Duration::from_millis(ms));
    }
    let mut buckets = Vec::new();
    let (sum, count) = histogram.read(&bounds, &mut buckets);
    assert_eq!(buckets, [(0.01, 1), (0.1, 2), (f64::INFINITY, 2)]);
    assert_eq!(count, 5);
    assert!((sum - 5.222).abs() < 1e-9, "{sum}");
    let none = Bounds::bytes(&[]);
    let histogram = none.histogram();
    histogram.observe(&none, u64::MAX);
    assert_eq!(histogram.read(&none, &mut buckets).1, 1);
}
