use super::*;
use crate::Lifecycle;
use crate::metrics::classic::classic;
use http::{HeaderMap, StatusCode};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex};

fn ask_for(
    service: &mut MetricsEndpoint,
    method: &str,
    accept: Option<&str>,
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let (head, body) = poll_now(service.call(request.body(()).unwrap()))
        .unwrap()
        .into_parts();
    let body = poll_now(body.collect()).unwrap().to_bytes();
    (
        head.status,
        head.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    let metrics = Metrics::new();
    metrics.lifecycle(&Lifecycle::new());
    let mut service = metrics.service();
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for accept in [prometheus, "text/plain, Application/OpenMetrics-Text"] {
        let (_, headers, text) = ask_for(&mut service, "GET", Some(accept));
        assert_eq!(
            headers["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("# TYPE lameduck_refusals counter\n"));
        assert!(text.contains("\n# UNIT http_server_request_duration_seconds seconds\n"));
    }
    for accept in [
        None,
        Some("*/*"),
        Some("text/plain"),
        Some("application/openmetrics-text;q=0, text/plain"),
    ] {
        let (status, headers, text) = ask_for(&mut service, "GET", accept);
        assert_eq!(status, 200);
        assert_eq!(
            headers["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
        assert!(text.contains("# TYPE lameduck_refusals_total counter\n"));
    }
}

#[test]
fn only_get_and_head() {
    let mut service = Metrics::new().service();
    assert_eq!(ask_for(&mut service, "HEAD", None).0, 200);
    let (status, headers, _) = ask_for(&mut service, "POST", None);
    assert_eq!(status, 405);
    assert_eq!(headers["allow"], "GET, HEAD");
}

#[test]
fn beside_the_services_own_metrics() {
    let orders: Counter = Counter::default();
    let mut registry = Registry::default();
    registry.register("orders", "Orders taken", orders.clone());
    let metrics = Metrics::register(&mut registry);
    metrics
        .event_sink()
        .emit(|| crate::events::Event::RateLimitFull);
    orders.inc();
    let registry = Arc::new(registry);
    let locked = Mutex::new(Registry::default());
    for service in [
        MetricsEndpoint::of(registry.clone()),
        MetricsEndpoint::with(move |out| {
            text::encode_registry(out, &locked.lock().unwrap())?;
            text::encode(out, &registry)
        }),
    ] {
        let scrape = scrape_of(service);
        assert_eq!(value(&scrape, "orders_total", &[]), 1.0);
        assert_eq!(value(&scrape, "lameduck_rate_limit_full_total", &[]), 1.0);
    }
}

#[test]
fn an_encoding_failure_gets_500() {
    let mut service = MetricsEndpoint::with(|_| Err(std::fmt::Error));
    assert_eq!(ask_for(&mut service, "GET", None).0, 500);
}

#[test]
fn the_classic_format_of_every_kind() {
    let open = "# HELP a Help of a.\n# TYPE a counter\na_total{x=\"1 # {\"} 2 # {trace=\"t\"} 1.0 3\n\
                # HELP b_seconds B\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\nb_seconds_bucket{le=\"+Inf\"} 1 # {t=\"x\"} 0.5\n\
                # HELP c C\n# TYPE c info\nc_info{v=\"\\\" # \"} 1\n\
                # HELP d D\n# TYPE d unknown\nd 1\n# EOF\n";
    let expected = "# HELP a_total Help of a.\n# TYPE a_total counter\na_total{x=\"1 # {\"} 2\n\
                    # HELP b_seconds B\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP c_info C\n# TYPE c_info gauge\nc_info{v=\"\\\" # \"} 1\n\
                    # HELP d D\n# TYPE d untyped\nd 1\n";
    assert_eq!(classic(open), expected);
}

/// A HEAD has not transmitted the metrics.
#[tokio::test]
async fn scraped_waits_for_a_later_scrape_that_was_sent() {
    use tokio::time::timeout;
    let soon = std::time::Duration::from_millis(20);
    let mut service = Metrics::new().service();
    drop(poll_now(service.call(get("/"))).unwrap());
    let mut scraped = std::pin::pin!(service.scraped());
    assert!(timeout(soon, scraped.as_mut()).await.is_err(), "before");
    for method in ["HEAD", "POST"] {
        let mut service = service.clone();
        let request = Request::builder().method(method).body(()).unwrap();
        drop(poll_now(service.call(request)).unwrap());
        assert!(timeout(soon, scraped.as_mut()).await.is_err(), "{method}");
    }
    drop(poll_now(service.call(get("/"))).unwrap());
    timeout(soon, scraped).await.unwrap();
}

#[test]
fn a_page_of_another_site_gets_nothing() {
    let mut service = Metrics::new().service();
    let mut ask = |name: &str, value: &str| {
        let request = Request::builder().header(name, value).body(()).unwrap();
        poll_now(service.call(request)).unwrap()
    };
    let evil = ask("host", "evil.example");
    assert_eq!(evil.status(), StatusCode::MISDIRECTED_REQUEST);
    let other = ask("sec-fetch-site", "cross-site");
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    // Hosts as Prometheus sends them: an address, or the name of a service.
    for host in [
        "10.0.3.17:8081",
        "[fd00::17]:8081",
        "shop:8081",
        "shop.prod.svc:8081",
    ] {
        let answer = ask("host", host);
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
        let headers = answer.headers();
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}
