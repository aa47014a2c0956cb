//! The layers between a client and the routes, with an operator's settings.

use serde_json::{Value, json};

use crate::support::{
    client::{self, Client},
    redis::Redis,
    service::Service,
    wait_for,
};

/// Returns the answer of `/whoami` to a request with these header lines.
fn whoami(service: &Service, headers: &str) -> Value {
    let mut client = Client::connect(service.address).expect("a connection");
    let request = format!("GET /whoami HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    client.send(request.as_bytes()).expect("sent");
    let answer = client.response().expect("an answer");
    let mut who: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let peer = who["peer"].take();
    assert!(
        peer.as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    json!([who["client"], who["why"]])
}

#[test]
fn no_proxy_is_trusted_by_default() {
    let service = Service::start_ready(&[]);
    assert_eq!(
        whoami(&service, "x-forwarded-for: 203.0.113.7\r\n"),
        json!(["127.0.0.1", "ignored"])
    );
    assert_eq!(whoami(&service, ""), json!(["127.0.0.1", "peer"]));
}

#[test]
fn trusted_proxy_names_the_client() {
    let service = Service::start_ready(&[("TRUSTED_PROXIES", "loopback, 10.0.0.0/8")]);
    for (headers, answer) in [
        ("", ["127.0.0.1", "no_header"]),
        (
            "x-forwarded-for: 1.1.1.1, 203.0.113.7, 10.1.2.3\r\n",
            ["203.0.113.7", "forwarded"],
        ),
        ("x-forwarded-for: 10.0.0.1\r\n", ["10.0.0.1", "all_trusted"]),
        (
            "x-forwarded-for: 203.0.113.7, garbage\r\n",
            ["127.0.0.1", "unreadable"],
        ),
    ] {
        assert_eq!(whoami(&service, headers), json!(answer), "{headers}");
    }
}

#[test]
fn only_the_configured_header_counts() {
    let service = Service::start_ready(&[
        ("TRUSTED_PROXIES", "loopback"),
        ("CLIENT_IP_HEADER", "forwarded"),
    ]);
    let both = "x-forwarded-for: 1.1.1.1\r\nforwarded: for=\"[2001:db8::7]:443\"\r\n";
    assert_eq!(whoami(&service, both), json!(["2001:db8::7", "forwarded"]));
}

#[test]
fn rate_limit_counts_each_client_and_ignores_probes() {
    let service = Service::start_ready(&[("RATE_LIMIT", "2/h"), ("TRUSTED_PROXIES", "loopback")]);
    let mut client = Client::connect(service.address).expect("a connection");
    let mut ask = |address: &str| {
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: {address}\r\n\r\n");
        client.send(request.as_bytes()).expect("sent");
        client.response().expect("an answer").head
    };
    assert_eq!(ask("203.0.113.7").status, 200);
    assert_eq!(ask("203.0.113.7").status, 200);
    let refused = ask("203.0.113.7");
    assert_eq!(refused.status, 429);
    let wait: u32 = refused
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((1..=1800).contains(&wait), "{wait}");
    assert_eq!(ask("203.0.113.8").status, 200, "another client");
    for _ in 0..5 {
        let probe = client::get(service.address, "/readyz").expect("an answer");
        assert_eq!(probe.head.status, 200);
    }
}

#[test]
fn oversized_body_is_refused() {
    let service = Service::start_ready(&[("BODY_LIMIT", "1KiB")]);
    let mut client = Client::connect(service.address).expect("a connection");
    let head = "POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 1025\r\n\r\n";
    client.send(head.as_bytes()).expect("sent");
    client.send(&[b'x'; 1025]).expect("sent");
    let answer = client.response().expect("an answer");
    assert_eq!(answer.head.status, 413);
    assert_eq!(answer.head.header("connection"), Some("close"));
    client.closed().expect("an end");
}

#[test]
fn slow_request_gets_503() {
    let service = Service::start_ready(&[("REQUEST_TIMEOUT", "100ms")]);
    let mut client = Client::connect(service.address).expect("a connection");
    let answer = client.get("/slow?ms=30000").expect("an answer");
    assert_eq!(answer.head.status, 503);
    let answer = client.get("/").expect("the connection is kept");
    assert_eq!(answer.head.status, 200);
}

#[test]
fn two_instances_share_a_quota_through_redis_and_survive_its_loss() {
    let mut redis = Redis::start();
    let instances = [(); 2].map(|()| {
        Service::start_ready(&[
            ("RATE_LIMIT", "4/h"),
            ("REDIS_URL", &redis.url),
            ("TRUSTED_PROXIES", "loopback"),
        ])
    });
    let ask = |instance: usize, address: &str| {
        let mut client = Client::connect(instances[instance].address).expect("a connection");
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: {address}\r\n\r\n");
        client.send(request.as_bytes()).expect("sent");
        client.response().expect("an answer").head.status
    };
    wait_for("both instances to count in Redis", || {
        ask(0, "192.0.2.10");
        ask(1, "192.0.2.11");
        (redis.keys() == 2).then_some(())
    });

    let statuses = [0, 1, 0, 1, 0, 1, 0, 1].map(|instance| ask(instance, "203.0.113.7"));
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    // A late answer of Redis on a busy machine leaves a request or two to the local count.
    assert!((4..=6).contains(&admitted), "{statuses:?}");

    redis.kill();
    // Each instance now counts by itself.
    let alone = [(); 8].map(|()| ask(0, "203.0.113.8"));
    assert_eq!(alone, [200, 200, 200, 200, 429, 429, 429, 429]);
}

#[test]
fn a_problem_is_a_complete_answer_in_the_log_and_in_the_metrics() {
    let service = Service::start_ready(&[]);
    let answer = client::get(service.address, "/api/v1/users/none").expect("an answer");
    assert_eq!(answer.head.status, 404);
    let line = service.logged("path", "/api/v1/users/none");
    assert_eq!(line["end"], "complete", "{line}");
    let metrics = client::get(service.admin(), "/metrics").expect("an answer");
    assert!(metrics.text().contains("\"404\""), "{}", metrics.text());
    assert!(!metrics.text().contains("\"499\""), "{}", metrics.text());
}
