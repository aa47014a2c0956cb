//! The traces: whose they are, what they say, and that no collector can hold up the service.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    api::{Api, order},
    client::{self, Client},
    collector::{Collector, attribute, hex},
    free_address,
    service::{Service, refused, timed},
    wait_for,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        let found = attribute(&span.attributes, key);
        assert_eq!(found.as_deref(), Some(*value), "{key} of {span:#?}");
    }
}

#[test]
fn a_request_and_its_job_are_in_the_trace_of_the_client() {
    let collector = Collector::start();
    let api = Api::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_SERVICE_NAME", "orders"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
        ("TRUSTED_PROXIES", "loopback"),
    ]);
    let user = api.user("ada@example.com");
    let headers = format!(
        "{}x-request-id: the-order\r\nx-forwarded-for: 203.0.113.7\r\nuser-agent: a-test\r\n",
        traceparent("01")
    );
    let answer = api.get("/api/v1/orders?with=a-query");
    assert_eq!(answer.head.status, 422, "an unknown parameter");
    let answer = api.write("POST", "/api/v1/orders", &headers, &order(&user));
    assert_eq!(answer.head.status, 201, "{}", answer.text());

    let job = collector.span("process confirm-order");
    let request = wait_for("the request", || {
        let mut spans = collector.spans().into_iter();
        spans.find(|span| span.span_id == job.parent_span_id)
    });
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(hex(&job.trace_id), TRACE);
    assert_eq!(request.name, "POST /api/v1/orders");
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(job.kind(), SpanKind::Consumer);
    assert!(request.end_time_unix_nano > request.start_time_unix_nano);
    assert_attributes(
        &request,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/api/v1/orders"),
            ("http.response.status_code", "201"),
            ("url.path", "/api/v1/orders"),
            ("url.scheme", "http"),
            ("network.protocol.version", "1.1"),
            ("client.address", "203.0.113.7"),
            ("user_agent.original", "a-test"),
            ("request_id", "the-order"),
        ],
    );
    assert_attributes(
        &job,
        &[
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", "confirm-order"),
            ("attempt", "1"),
            ("request_id", "the-order"),
        ],
    );
    for span in collector.spans() {
        assert!(!format!("{span:?}").contains("a-query"), "{span:#?}");
        for key in ["trace_id", "span_id", "span.kind"] {
            assert_eq!(attribute(&span.attributes, key), None, "{span:#?}");
        }
    }
    for (key, value) in [
        ("service.name", "orders"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(collector.of_service(key).as_deref(), Some(value));
    }

    // The access log's line, a handler's and a job's.
    let named = |line: &Value, span: &Span, name: &str| {
        assert_eq!(line["span"]["name"], name, "{line}");
        assert_eq!(line["span"]["trace_id"], TRACE, "{line}");
        assert_eq!(line["span"]["span_id"], hex(&span.span_id), "{line}");
        assert_eq!(line["span"]["request_id"], "the-order", "{line}");
    };
    named(
        &api.service.logged("message", "order placed"),
        &request,
        "request",
    );
    named(&api.service.logged("message", "job done"), &job, "job");
    let access = api.service.logged("request_id", "the-order");
    named(&access, &request, "request");
}

#[test]
fn traces_begin_here_without_a_client_and_the_sampler_chooses() {
    let collector = Collector::start();
    let endpoint = format!("{}/", collector.url());
    let service = Service::start_ready(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("LAME_DUCK", "off"),
    ]);
    let mut one = Client::connect(service.address).expect("a connection");
    // One that the client does not want to keep, one without a client's trace, one malformed.
    for headers in [
        traceparent("00"),
        String::new(),
        "traceparent: 00-0-0-01\r\n".to_owned(),
    ] {
        let request = format!("GET /nowhere HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        one.send(request.as_bytes()).expect("sent");
        assert_eq!(one.response().expect("an answer").head.status, 404);
    }
    let mut gone = Client::connect(service.address).expect("a connection");
    gone.send_get("/slow?ms=60000").expect("sent");
    wait_for("the slow request", || {
        let seen = client::get(service.admin(), "/snapshot").ok()?;
        (seen.json()["in_flight"]["requests"][0]["route"] == "/slow").then_some(())
    });
    drop(gone);
    let line = service.logged("end", "client_gone");
    assert!(line["span"]["trace_id"].is_string(), "{line}");

    service.signal(Signal::TERM);
    let ended = service.ended();
    ended.assert_clean();
    assert!(
        ended.printed().contains("flush traces: done"),
        "{}",
        ended.printed()
    );
    let spans = collector.spans();
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    // Probes are not traced.
    assert_eq!(names, ["GET", "GET", "GET /slow"]);
    for span in &spans {
        assert_ne!(hex(&span.trace_id), TRACE);
        assert_eq!(span.parent_span_id, [0; 0]);
    }
    assert_ne!(spans[0].trace_id, spans[1].trace_id);

    let collector = Collector::start();
    let service = Service::start_ready(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("LAME_DUCK", "off"),
    ]);
    let mut one = Client::connect(service.address).expect("a connection");
    for headers in [String::new(), traceparent("01")] {
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        one.send(request.as_bytes()).expect("sent");
        assert_eq!(one.response().expect("an answer").head.status, 200);
    }
    service.signal(Signal::TERM);
    service.ended().assert_clean();
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[test]
fn a_failed_request_is_marked() {
    let collector = Collector::start();
    let api = Api::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("REQUEST_TIMEOUT", "100ms"),
    ]);
    let answer = api.get("/slow?ms=60000");
    assert_eq!(answer.head.status, 503);
    let slow = collector.span("GET /slow");
    assert_attributes(
        &slow,
        &[("error.type", "503"), ("http.response.status_code", "503")],
    );
    let status = slow.status.expect("a status");
    assert_eq!(status.code(), StatusCode::Error);
}

#[test]
fn a_collector_that_hangs_costs_spans_and_nothing_else() {
    let collector = Collector::hanging();
    let service = Service::start_ready(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("LAME_DUCK", "off"),
        ("RATE_LIMIT", "off"),
        ("LOG_LEVEL", "info,lameduck::access=off"),
    ]);
    let mut one = Client::connect(service.address).expect("a connection");
    // More than one request to the collector and the queue take.
    for _ in 0..60 {
        let many = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(50);
        one.send(&many).expect("sent");
        for _ in 0..50 {
            assert_eq!(one.response().expect("an answer").head.status, 200);
        }
    }
    service.signal(Signal::TERM);
    let (ended, took) = timed(|| service.ended());
    ended.assert_clean();
    // Its requests to the collector last for 10 s.
    assert!(took < Duration::from_secs(6), "{took:?}");
    // All of them, in one line, or in more where the machine is so slow that the collector is given up before the end.
    let lines = ended.output.iter();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lost: u64 = lines
        .filter_map(|line| Some(line["not_taken"].as_u64()? + line["dropped"].as_u64()?))
        .sum();
    assert_eq!(lost, 3_000);
    let message = "the last spans were lost: the collector did not take them in time";
    let line = ended.logged("message", message).expect("a line");
    // The queue, and a request that has its full size or less.
    let not_taken = line["not_taken"].as_u64().expect("a number");
    assert!((1..=2_048 + 512).contains(&not_taken), "{line}");
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let away = format!("http://{}", free_address());
    let service =
        Service::start_ready(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &away), ("LAME_DUCK", "off")]);
    let mut one = Client::connect(service.address).expect("a connection");
    assert_eq!(one.get("/").expect("an answer").head.status, 200);
    let message = "spans were lost: the collector does not take them fast enough";
    assert_eq!(service.logged("message", message)["not_taken"], 1);
    let scrape = client::get(service.admin(), "/metrics").expect("metrics");
    assert!(scrape.text().contains("spans_lost_total 1\n"), "a metric");
    service.signal(Signal::TERM);
    service.ended().assert_clean();
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    for (endpoint, why) in [
        ("https://collector.example", "TLS"),
        ("collector:4318", "http://localhost:4318"),
        ("http://user:pw@collector:4318", "password"),
        ("grpc://collector:4317", "http://localhost:4318"),
    ] {
        let (code, output) = refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
        assert_eq!(code, Some(2), "{output}");
        assert!(output.contains(why), "{output}");
    }
    let (code, output) = refused(&[
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("2 settings are wrong"), "{output}");
    // The flush is part of the sum.
    let (code, output) = refused(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("TERMINATION_GRACE", "29s"),
    ]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("TERMINATION_GRACE"), "{output}");
}
