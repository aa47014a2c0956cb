//! `lameduck::Server` from the outside: one owner, any order of calls, loud errors.
#![cfg(all(
    feature = "axum",
    feature = "metrics",
    feature = "status",
    feature = "rate-limit"
))]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::events::{Event, EventSink, WorkerEnd};
use lameduck::rate_limit::Quota;
use lameduck::serve::RequestBody;
use lameduck::server::{Running, ServerError};
use lameduck::shutdown::{Cause, StepEnd};
use lameduck::{Phase, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, LIMIT, Raw, within};

const AT_ONCE: &str = "127.0.0.1:0";

fn app() -> Router {
    Router::new()
        .route("/users/{id}", get(|| async { "Ada" }))
        .route("/peer", get(peer))
        .route("/panic", get(|| async { panic!("no luck") as &str }))
}

async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    peer.ip().to_string()
}

async fn ask(addr: SocketAddr, request: &str) -> Answer {
    let mut client = Raw::connect(addr).await;
    client
        .ask(format!("{request}\r\nhost: a\r\nconnection: close\r\n\r\n"))
        .await
}

async fn scrape(running: &Running) -> String {
    let admin = running.admin_addr().expect("an admin port");
    ask(admin, "GET /metrics HTTP/1.1").await.text()
}

#[tokio::test]
async fn wires_metrics_health_and_refusals_in_any_order_of_calls() {
    let quota = || Quota::per_day(2);
    let servers = [
        Server::for_tests().admin(AT_ONCE).rate_limit(quota()),
        Server::for_tests().rate_limit(quota()).admin(AT_ONCE),
    ];
    for server in servers {
        let running = server.serve(AT_ONCE, app()).spawn().await.unwrap();
        let addr = running.addr().unwrap();
        assert_eq!(ask(addr, "GET /readyz HTTP/1.1").await.status, 200);
        assert_eq!(ask(addr, "GET /users/7 HTTP/1.1").await.status, 200);
        assert_eq!(ask(addr, "GET /panic HTTP/1.1").await.status, 500);
        assert_eq!(ask(addr, "GET /users/7 HTTP/1.1").await.status, 429);
        let text = scrape(&running).await;
        for line in [
            "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/users/{id}\",\
             http_response_status_code=\"200\",network_protocol_version=\"1.1\",error_type=\"\"} 1",
            "lameduck_refusals_total{reason=\"rate_limited\"} 1",
            "lameduck_panics_total 1",
            "lameduck_connections_accepted_total 4",
            "lameduck_phase{phase=\"ready\"} 1",
            "lameduck_rate_limit_keys 1",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} in {text}");
        }
        let report = running.shutdown().await.unwrap();
        assert_eq!(report.cause, Cause::Called);
    }
}

#[tokio::test]
async fn service_takes_the_same_body_as_with_serve_and_is_held_to_the_limit() {
    let service = tower::service_fn(|request: Request<RequestBody>| async {
        let read = request.into_body().collect().await;
        let text = match read {
            Ok(body) => format!("{} bytes", body.to_bytes().len()),
            Err(error) => error.to_string(),
        };
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
    });
    let server = Server::for_tests().body_limit(4);
    let running = server.serve(AT_ONCE, service).spawn().await.unwrap();
    let addr = running.addr().unwrap();
    let post = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (chunk, status, text) in [
        ("4\r\nfour\r\n0\r\n\r\n", 200, "4 bytes"),
        (
            "5\r\nfives\r\n0\r\n\r\n",
            413,
            "the request body is larger than 4 bytes\n",
        ),
    ] {
        let mut client = Raw::connect(addr).await;
        let answer = client.ask(format!("{post}{chunk}")).await;
        assert_eq!((answer.status, &*answer.text()), (status, text));
    }
    assert!(running.shutdown().await.unwrap().cut.is_empty());
}

/// Ends of workers and what fails readiness, as events say them.
fn worker_ends() -> (EventSink, Arc<Mutex<Vec<String>>>) {
    let ends = Arc::<Mutex<Vec<String>>>::default();
    let written = ends.clone();
    let events = EventSink::to(move |event| {
        let line = match event {
            Event::WorkerEnded { name, end, .. } => {
                let why = match end {
                    WorkerEnd::Failed(error) => error,
                    end => end.as_str(),
                };
                format!("{name}: {why}")
            }
            Event::Readiness { failed, .. } if !failed.is_empty() => format!("not ready: {failed}"),
            _ => return,
        };
        written.lock().unwrap().push(line);
    });
    (events, ends)
}

#[tokio::test]
async fn worker_that_fails_is_an_event_and_fails_readiness() {
    let (events, ends) = worker_ends();
    let running = Server::for_tests()
        .worker("mailer", |_| async { Err::<(), _>("connection refused") })
        .worker("once", |_| async {})
        .events(events)
        .serve(AT_ONCE, app())
        .spawn()
        .await
        .unwrap();
    let addr = running.addr().unwrap();
    assert_eq!(ask(addr, "GET /peer HTTP/1.1").await.text(), "127.0.0.1");
    let unready = async {
        loop {
            let answer = ask(addr, "GET /readyz HTTP/1.1").await;
            if answer.status == 503 {
                break answer.text();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let details = within(LIMIT, "readiness to fail", unready).await;
    let error = r#""error":"mailer: connection refused""#;
    assert!(details.contains(error), "{details}");
    assert_eq!(ask(addr, "GET /users/7 HTTP/1.1").await.status, 200);
    let report = running.shutdown().await.unwrap();
    let mut ends = ends.lock().unwrap().clone();
    ends.sort();
    let unready = "not ready: workers: mailer: connection refused";
    assert_eq!(ends, ["mailer: connection refused", unready, "once: done"]);
    let failed = StepEnd::Failed("connection refused".into());
    assert_eq!(report.steps[0].end, failed);
    assert_eq!(report.steps.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn essential_worker_that_ends_begins_the_shutdown() {
    let began = tokio::time::Instant::now();
    let report = Server::for_tests()
        .essential_worker("queue", |_| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
        .closer("last", Duration::from_secs(1), || async {})
        .run()
        .await
        .unwrap();
    assert_eq!(report.cause, Cause::Worker);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(report.steps.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn process_without_connections_stops_its_workers_at_once() {
    let shutdown = lameduck::Shutdown::with_signals(false);
    let handle = shutdown.handle();
    handle.spawn_worker("queue", |stop| async move { stop.cancelled().await });
    let began = tokio::time::Instant::now();
    handle.shutdown();
    let report = shutdown.run().await.unwrap();
    assert!(report.is_clean());
    assert_eq!(began.elapsed(), Duration::ZERO, "no lame duck");
    let text = report.to_string();
    assert!(
        !text.contains("request") && !text.contains("drain"),
        "{text}"
    );
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_named() {
    let start = async |server: Server| server.serve(AT_ONCE, app()).spawn().await.unwrap_err();
    let error = start(Server::for_tests().trusted_proxies("10.0.0.0/99")).await;
    assert!(
        error.to_string().starts_with("trusted_proxies: "),
        "{error}"
    );
    let error = start(Server::for_tests().shutdown(|_| lameduck::Shutdown::for_tests())).await;
    assert!(error.to_string().starts_with("shutdown: "), "{error}");
    let taken = std::net::TcpListener::bind(AT_ONCE).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = start(Server::for_tests().admin(address.clone())).await;
    assert!(matches!(error, ServerError::Bind { .. }));
    assert!(format!("{error:?}").contains(&address), "{error:?}");
}

#[tokio::test]
async fn outer_layers_see_what_the_stack_refuses_and_answer_before_it_counts() {
    let answered = async |request: axum::extract::Request, next: axum::middleware::Next| {
        if request.method() == "OPTIONS" {
            return axum::response::Response::default();
        }
        let mut response = next.run(request).await;
        response
            .headers_mut()
            .insert("x-outer", http::HeaderValue::from_static("yes"));
        response
    };
    let running = Server::for_tests()
        .outer_layers(move |app| app.layer(axum::middleware::from_fn(answered)))
        .rate_limit(Quota::per_day(1))
        .serve(AT_ONCE, app())
        .spawn()
        .await
        .unwrap();
    let addr = running.addr().unwrap();
    for _ in 0..3 {
        assert_eq!(ask(addr, "OPTIONS /users/7 HTTP/1.1").await.status, 200);
    }
    for status in [200, 429] {
        let answer = ask(addr, "GET /users/7 HTTP/1.1").await;
        let outer = answer.header("x-outer");
        assert_eq!((answer.status, outer), (status, Some("yes")));
    }
    assert!(running.shutdown().await.unwrap().is_clean());
}

#[tokio::test]
async fn outer_layers_need_a_router() {
    let service = tower::service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let server = Server::for_tests().outer_layers(|app| app);
    let error = server.serve(AT_ONCE, service).spawn().await.unwrap_err();
    assert!(error.to_string().starts_with("outer_layers: "), "{error}");
}

#[tokio::test]
async fn admin_routes_answer_beside_the_pages_and_under_their_host_names() {
    let cleared = Router::new().route("/cache/clear", axum::routing::post(|| async { "cleared" }));
    let running = Server::for_tests()
        .admin_routes(cleared)
        .admin_routes(Router::new().route("/queue", get(|| async { "empty" })))
        .admin(AT_ONCE)
        .serve(AT_ONCE, app())
        .spawn()
        .await
        .unwrap();
    let admin = running.admin_addr().unwrap();
    let clear = ask(admin, "POST /cache/clear HTTP/1.1").await;
    assert_eq!((clear.status, &*clear.text()), (200, "cleared"));
    assert_eq!(ask(admin, "GET /queue HTTP/1.1").await.text(), "empty");
    assert_eq!(ask(admin, "GET /readyz HTTP/1.1").await.status, 200);
    let page = ask(admin, "GET / HTTP/1.1").await.text();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(scrape(&running).await.contains("lameduck_phase"));
    for (header, status) in [
        ("host: evil.example", 421),
        ("host: a\r\norigin: http://evil.example", 403),
    ] {
        let request = format!("POST /cache/clear HTTP/1.1\r\n{header}\r\n\r\n");
        let answer = Raw::connect(admin).await.ask(request).await;
        assert_eq!(answer.status, status, "{header}");
    }
    let public = running.addr().unwrap();
    assert_eq!(ask(public, "GET /queue HTTP/1.1").await.status, 404);
    assert!(running.shutdown().await.unwrap().is_clean());
}

#[tokio::test]
async fn last_scrape_is_waited_for() {
    let error = Server::for_tests()
        .last_scrape(LIMIT)
        .serve(AT_ONCE, app())
        .spawn()
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("last_scrape: "), "{error}");

    let running = Server::for_tests()
        .shutdown(|shutdown| shutdown.termination_grace(4 * LIMIT))
        .last_scrape(LIMIT)
        .admin(AT_ONCE)
        .serve(AT_ONCE, app())
        .spawn()
        .await
        .unwrap();
    let admin = running.admin_addr().unwrap();
    scrape(&running).await;
    // The one that counts begins after the last step but this one; the port closes after it.
    let scrapes = tokio::spawn(async move {
        while let Ok(mut client) = tokio::net::TcpStream::connect(admin).await {
            let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let _ = client.write_all(request).await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        }
    });
    let report = within(LIMIT, "the end", running.shutdown()).await.unwrap();
    scrapes.abort();
    let step = report.steps.last().unwrap();
    assert_eq!((&*step.name, &step.end), ("metrics", &StepEnd::Done));
}

#[tokio::test]
async fn no_quota_is_no_limit() {
    let server = Server::for_tests().rate_limit(Quota::per_day(1));
    let running = server.rate_limit(None).serve(AT_ONCE, app());
    let running = running.spawn().await.unwrap();
    let addr = running.addr().unwrap();
    for _ in 0..3 {
        assert_eq!(ask(addr, "GET /users/7 HTTP/1.1").await.status, 200);
    }
    assert!(running.shutdown().await.unwrap().is_clean());
}

#[test]
fn runtime_without_timers_is_a_start_error() {
    for (has_io, runtime) in [
        (false, tokio::runtime::Builder::new_current_thread().build()),
        (
            true,
            tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build(),
        ),
    ] {
        let serving = Server::for_tests().serve(AT_ONCE, app());
        let error = runtime.unwrap().block_on(serving.spawn()).unwrap_err();
        assert!(error.to_string().contains("enable_all"), "{has_io} {error}");
    }
}

#[tokio::test]
async fn build_gives_parts_that_are_wired() {
    let parts = Server::for_tests().build().unwrap();
    let listener = tokio::net::TcpListener::bind(AT_ONCE).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app().layer(parts.stack.clone());
    let server = lameduck::serve(listener, app).shutdown(parts.shutdown);
    let server = tokio::spawn(server.into_future());
    parts.handle.lifecycle().reached(Phase::Ready).await;
    assert_eq!(ask(addr, "GET /users/7 HTTP/1.1").await.status, 200);
    assert_eq!(parts.in_flight.peak(), 1);
    parts.handle.shutdown();
    assert!(server.await.unwrap().unwrap().is_clean());
}

#[tokio::test]
async fn parts_whose_shutdown_is_not_driven_are_reported() {
    let advice = Arc::<Mutex<Vec<String>>>::default();
    let written = advice.clone();
    let events = EventSink::to(move |event| {
        if let Event::Misconfigured { advice } = event {
            written.lock().unwrap().push((*advice).to_owned());
        }
    });
    let server = Server::for_tests().events(events);
    let server = server.closer("pool", Duration::from_secs(1), || async {});
    drop(server.build().unwrap());
    let advice = advice.lock().unwrap();
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(advice[0].contains("serve(..).shutdown(..)"), "{advice:?}");
}
