//! The content of responses, by client.

mod details;

use super::*;

const PHASES: [Phase; 5] = [
    Phase::Starting,
    Phase::Ready,
    Phase::LameDuck,
    Phase::Draining,
    Phase::Closed,
];

#[tokio::test]
async fn each_probe_in_each_phase() {
    let lifecycle = Lifecycle::new();
    let layer = Health::new(&lifecycle).layer();
    for phase in PHASES {
        lifecycle.advance(phase);
        let mut seen = Vec::new();
        for path in ["/healthz", "/readyz", "/startupz"] {
            for request in [local(path), from("203.0.113.9:1", path)] {
                let answer = ask(&layer, request).await;
                assert_eq!(answer.headers()["cache-control"], "no-store");
                assert_eq!(answer.headers()["content-type"], "application/json");
                let said = json(&answer);
                assert_eq!(said["phase"], phase.as_str());
                let ok = answer.status() == 200;
                assert!(ok || answer.status() == 503);
                assert_eq!(said["status"], if ok { "pass" } else { "fail" });
                seen.push(ok);
            }
        }
        let (live, ready, startup) = (true, phase == Phase::Ready, phase != Phase::Starting);
        assert_eq!(
            seen,
            [live, live, ready, ready, startup, startup],
            "{phase}"
        );
    }
}

#[tokio::test]
async fn a_process_that_left_before_it_was_ready_never_started() {
    let lifecycle = Lifecycle::new();
    let layer = Health::new(&lifecycle).layer();
    lifecycle.advance(Phase::Draining);
    assert_eq!(ask(&layer, local("/startupz")).await.status(), 503);
    assert_eq!(ask(&layer, local("/healthz")).await.status(), 200);
}

#[tokio::test]
async fn everything_else_passes() {
    let layer = Health::new(&Lifecycle::new()).layer();
    for path in [
        "/",
        "/healthz/",
        "/readyz2",
        "/HEALTHZ",
        "/a/readyz",
        "/readyz/x",
    ] {
        let answer = ask(&layer, local(path)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(brief(&answer), format!("passed {path}"));
    }
    // The query is not part of the path.
    assert_eq!(ask(&layer, local("/readyz?verbose")).await.status(), 503);
    let star = Request::options("*").body(()).unwrap();
    assert_eq!(ask(&layer, star).await.status(), 200);
}

#[tokio::test]
async fn paths_are_configurable() {
    let layer = Health::new(&Lifecycle::new())
        .layer()
        .liveness_at("/livez")
        .readiness_at("/ready")
        .startup_at("");
    assert_eq!(json(&ask(&layer, local("/livez")).await)["status"], "pass");
    assert_eq!(ask(&layer, local("/ready")).await.status(), 503);
    for path in ["/healthz", "/readyz", "/startupz"] {
        assert_eq!(
            brief(&ask(&layer, local(path)).await),
            format!("passed {path}")
        );
    }
}

#[tokio::test]
async fn off_answers_no_probe() {
    let layer = HealthLayer::off().readiness_at("/ready");
    for path in ["/healthz", "/readyz", "/startupz", "/ready"] {
        assert_eq!(
            brief(&ask(&layer, local(path)).await),
            format!("passed {path}")
        );
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let health = Health::new(&ready()).check("db", || async { Err("away") });
    for (path, status) in [("/healthz", 200), ("/readyz", 503)] {
        for peer in ["127.0.0.1:1", "203.0.113.9:1"] {
            let get = ask(&health.layer(), from(peer, path)).await;
            let mut request = from(peer, path);
            *request.method_mut() = http::Method::HEAD;
            let head = ask(&health.layer(), request).await;
            assert_eq!(head.status(), status);
            assert_eq!(
                head.headers()["content-length"],
                get.body().len().to_string()
            );
            assert_eq!(
                head.headers()["content-type"],
                get.headers()["content-type"]
            );
            assert!(head.body().is_empty() && !get.body().is_empty());
        }
    }
}

#[tokio::test]
async fn other_methods_get_405_with_allow() {
    let health = Health::new(&ready()).check("never asked", || async {
        panic!("asked");
        #[allow(unreachable_code)] // determines the type of the result
        Ok::<(), Infallible>(())
    });
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH", "QUERY"] {
        let mut request = local("/readyz");
        *request.method_mut() = method.parse().unwrap();
        let answer = ask(&health.layer(), request).await;
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "GET, HEAD, OPTIONS");
    }
    assert_eq!(health.shared.runner.last().at, None);
}

/// HAProxy's `option httpchk` sends OPTIONS and looks at the status.
#[tokio::test]
async fn options_gets_the_status_of_get_without_a_body() {
    for (lifecycle, path) in [
        (ready(), "/readyz"),
        (Lifecycle::new(), "/readyz"),
        (ready(), "/healthz"),
    ] {
        let layer = Health::new(&lifecycle).layer();
        let get = ask(&layer, local(path)).await;
        let mut options = local(path);
        *options.method_mut() = http::Method::OPTIONS;
        *options.version_mut() = http::Version::HTTP_10;
        let options = ask(&layer, options).await;
        assert_eq!(options.status(), get.status(), "{path}");
        assert_eq!(options.headers()["allow"], "GET, HEAD, OPTIONS");
        assert!(options.body().is_empty());
    }
}

#[tokio::test]
async fn the_answer_keeps_no_header_of_the_request() {
    let layer = Health::new(&ready()).layer();
    let mut request = local("/healthz");
    request
        .headers_mut()
        .insert("cookie", "secret".parse().unwrap());
    assert!(!ask(&layer, request).await.headers().contains_key("cookie"));
}

#[tokio::test]
async fn the_services_are_the_layer_s_answers() {
    let health = Health::new(&Lifecycle::new());
    for (service, status) in [
        (health.liveness(), 200),
        (health.readiness(), 503),
        (health.startup(), 503),
    ] {
        let answer = whole(service.clone().oneshot(local("/any")).await.unwrap()).await;
        assert_eq!(answer.status(), status);
        assert_eq!(json(&answer)["phase"], "starting");
        let post = Request::post("/any").body(()).unwrap();
        assert_eq!(service.oneshot(post).await.unwrap().status(), 405);
    }
}

#[tokio::test]
async fn any_text_is_json() {
    let nasty: String = (0..0x100)
        .map(|c| char::from_u32(c).unwrap())
        .chain(['\u{2028}', '\u{1f986}', '\u{10ffff}', '\u{fffd}'])
        .collect();
    let error = nasty.clone();
    let health = Health::new(&ready())
        .version(nasty.as_str())
        .optional_check(&nasty, move || std::future::ready(Err(error.clone())))
        .check("well", || async { Ok::<_, Infallible>(()) });
    let answer = ask(&health.layer(), local("/readyz")).await;
    let said = json(&answer);
    assert_eq!(said["version"], nasty);
    assert_eq!(said["uptime_seconds"], 0);
    assert!(said["age_ms"].is_u64());
    let components = said["components"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    assert_eq!(components[0]["name"], nasty);
    assert_eq!(components[0]["error"], nasty);
    assert_eq!(components[0]["optional"], true);
    assert_eq!(components[1]["status"], "pass");
    assert_eq!(components[1].get("error"), None);
    assert!(answer.body().ends_with(b"}\n"));
    assert_eq!(
        serde_json::from_str::<Value>(&health.readiness_report().await.to_json()).unwrap()["status"],
        "warn"
    );
}

#[tokio::test]
async fn an_optional_check_is_reported_but_fails_nothing() {
    let lifecycle = ready();
    let health = Health::new(&lifecycle)
        .check("disk", || async { Ok::<_, Infallible>(()) })
        .optional_check("cache", || async { Err("connection refused") });
    let answer = ask(&health.layer(), local("/readyz")).await;
    assert_eq!(answer.status(), 200);
    let said = json(&answer);
    assert_eq!(said["status"], "warn");
    assert_eq!(said["components"][0]["status"], "pass");
    assert_eq!(said["components"][1]["status"], "warn");
    let report = health.readiness_report().await;
    assert_eq!(
        report.to_string(),
        "warn (ready); cache: connection refused"
    );

    let health = health.check("queue", || async { Err("full") });
    let answer = ask(&health.layer(), local("/readyz")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(json(&answer)["components"][2]["error"], "full");
}

#[tokio::test]
async fn checks_not_run_yet_are_unknown() {
    let health = Health::new(&Lifecycle::new()).check("db", || async { Err("never asked") });
    let said = json(&ask(&health.layer(), local("/readyz")).await);
    assert_eq!(said["components"][0]["status"], "unknown");
    assert_eq!(said["components"][0].get("duration_ms"), None);
    assert_eq!(said.get("age_ms"), None);
}

#[test]
fn public_types_are_debug_send_and_sync() {
    fn good<T: std::fmt::Debug + Send + Sync>() {}
    good::<Health>();
    good::<HealthLayer>();
    good::<HealthService<()>>();
    good::<HealthEndpoint>();
    good::<HealthReport>();
    good::<Details>();
    good::<ProbeError>();
    fn sent<T: std::fmt::Debug + Send>() {}
    sent::<HealthFuture<std::future::Ready<()>>>();
    sent::<HealthAnswer>();
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_not_called() {
    // The layer's readiness is the inner service's: its error is passed on.
    let mut service = Health::new(&ready()).layer().layer(NeverReady);
    let error =
        std::future::poll_fn(|cx| Service::<Request<()>>::poll_ready(&mut service, cx)).await;
    assert_eq!(error, Err("not ready"));
}

struct NeverReady;

impl Service<Request<()>> for NeverReady {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Err("not ready"))
    }
    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Err("called"))
    }
}
