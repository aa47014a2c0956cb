//! The API, from outside.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::support::{
    api::{Api, order, send, text},
    client::{self, Response},
    free_address,
    service::Service,
};
use serde_json::{Value, json};

/// Asserts that this is a problem of this kind, named as the log names it; returns it.
fn problem(answer: &Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.head.status, status, "{}", answer.text());
    let kind = answer.head.header("content-type");
    assert_eq!(kind, Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["type"], format!("/problems/{code}"), "{problem}");
    assert_eq!(problem["status"], status);
    let id = answer.head.header("x-request-id").expect("an id");
    assert_eq!(problem["request_id"], id);
    for part in ["title", "detail", "instance"] {
        assert!(problem[part].is_string(), "{part} in {problem}");
    }
    problem
}

/// Returns the place and the code of each error.
fn errors(problem: &Value) -> Vec<(String, String)> {
    let errors = problem["errors"].as_array().expect("errors");
    let error = |error: &Value| {
        let place = ["pointer", "parameter", "header"]
            .iter()
            .find_map(|place| error[place].as_str());
        (place.expect("a place").to_owned(), text(&error["code"]))
    };
    let mut errors: Vec<_> = errors.iter().map(error).collect();
    errors.sort();
    errors
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(place, code): &(&str, &str)| ((*place).to_owned(), (*code).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn user_lives_through_its_versions() {
    let api = Api::start(&[]);
    let ada = json!({ "email": "ada@example.com", "name": "  Ada " });
    let created = api.write("POST", "/api/v1/users", "x-request-id: mine\r\n", &ada);
    assert_eq!(created.head.status, 201, "{}", created.text());
    assert_eq!(created.head.header("etag"), Some("\"v1\""));
    let path = created.head.header("location").expect("a path").to_owned();
    let user = created.json();
    assert_eq!(user["data"]["name"], "Ada");
    assert_eq!(user["data"]["version"], 1);
    assert_eq!(user["meta"], json!({ "request_id": "mine" }));
    assert_eq!(user["links"], json!({ "self": path }));
    assert_eq!(path, format!("/api/v1/users/{}", text(&user["data"]["id"])));

    assert_eq!(api.get(&path).json()["data"], user["data"]);
    let known = |tags: &str| api.send("GET", &path, &format!("if-none-match: {tags}\r\n"), "");
    for tags in ["\"v1\"", "W/\"v1\"", "\"v7\", \"v1\"", "*"] {
        let answer = known(tags);
        assert_eq!(answer.head.status, 304, "{tags}");
        assert_eq!(answer.head.header("etag"), Some("\"v1\""), "{tags}");
    }
    assert_eq!(known("\"v2\"").head.status, 200);

    let put = |tags: &str, name: &str| {
        let body = json!({ "email": "ada@example.com", "name": name });
        api.write("PUT", &path, &format!("if-match: {tags}\r\n"), &body)
    };
    for tags in ["\"v2\"", "W/\"v1\"", "v1", "\"v3\", \"v4\""] {
        problem(&put(tags, "Eve"), 412, "version-changed");
    }
    let changed = put("\"v7\", \"v1\"", "Countess");
    assert_eq!(changed.head.header("etag"), Some("\"v2\""));
    assert_eq!(changed.json()["data"]["name"], "Countess");
    assert_eq!(put("*", "Ada").json()["data"]["version"], 3);
    assert_eq!(
        api.write("PUT", &path, "", &ada).json()["data"]["version"],
        4
    );

    let delete = |headers: &str| api.send("DELETE", &path, headers, "");
    problem(&delete("if-match: \"v3\"\r\n"), 412, "version-changed");
    assert_eq!(delete("if-match: \"v4\"\r\n").head.status, 204);
    problem(&delete(""), 404, "not-found");
    problem(&api.get(&path), 404, "not-found");
    problem(&api.get("/api/v1/users/1"), 404, "not-found");
}

#[test]
fn name_is_measured_without_the_space_around_it() {
    let api = Api::start(&[]);
    for (number, (letters, status)) in [(200, 201), (201, 422)].into_iter().enumerate() {
        let name = format!("  {}\u{3000} ", "\u{fc}".repeat(letters));
        let body = json!({ "email": format!("{number}@example.com"), "name": name });
        let answer = api.write("POST", "/api/v1/users", "", &body);
        assert_eq!(answer.head.status, status, "{}", answer.text());
    }
}

#[test]
fn conflicts_have_codes() {
    let api = Api::start(&[]);
    let user = api.user("ada@example.com");
    let twice = json!({ "email": "ada@example.com", "name": "Eve" });
    let answer = api.write("POST", "/api/v1/users", "", &twice);
    problem(&answer, 409, "duplicate-email");

    let unknown = order("0190e0c8-0000-7000-8000-000000000000");
    let answer = api.write("POST", "/api/v1/orders", "", &unknown);
    let unknown = problem(&answer, 422, "unknown-user");
    assert_eq!(errors(&unknown), pairs(&[("/user_id", "unknown-user")]));

    let placed = api.write("POST", "/api/v1/orders", "", &order(&user));
    assert_eq!(placed.head.status, 201, "{}", placed.text());
    assert_eq!(placed.json()["data"]["total"], 2100);
    let answer = api.send("DELETE", &format!("/api/v1/users/{user}"), "", "");
    problem(&answer, 409, "user-has-orders");

    let path = placed.head.header("location").expect("a path").to_owned();
    let cancel = |headers: &str| api.send("POST", &format!("{path}/cancel"), headers, "");
    problem(&cancel("if-match: \"v9\"\r\n"), 412, "version-changed");
    assert_eq!(cancel("").json()["data"]["status"], "cancelled");
    problem(&cancel(""), 409, "not-cancellable");
    problem(
        &api.write("PUT", &path, "", &order(&user)),
        409,
        "not-changeable",
    );
}

#[test]
fn all_errors_of_a_body_come_at_once() {
    let api = Api::start(&[]);
    let answer = api.write(
        "POST",
        "/api/v1/users",
        "",
        &json!({ "email": 1, "nme": "Ada" }),
    );
    let found = errors(&problem(&answer, 422, "invalid"));
    let expected = pairs(&[
        ("/email", "wrong-type"),
        ("/name", "missing"),
        ("/nme", "unknown-field"),
    ]);
    assert_eq!(found, expected);

    let items = json!([
        { "sku": "a", "quantity": 0, "unit_price": 1_000_000_001 },
        { "sku": "a b", "quantity": 1.5, "unit_price": "1", "a/b~c": 1 },
        7,
        { "sku": "a", "quantity": 1.0, "unit_price": 0 },
    ]);
    let body = json!({ "user_id": "7", "currency": "eur", "items": items });
    let answer = api.write("POST", "/api/v1/orders", "", &body);
    let expected = pairs(&[
        ("/currency", "not-a-currency"),
        ("/items/0/quantity", "out-of-range"),
        ("/items/0/unit_price", "out-of-range"),
        ("/items/1/a~1b~0c", "unknown-field"),
        ("/items/1/quantity", "wrong-type"),
        ("/items/1/sku", "invalid"),
        ("/items/1/unit_price", "wrong-type"),
        ("/items/2", "wrong-type"),
        ("/user_id", "not-a-uuid"),
    ]);
    assert_eq!(errors(&problem(&answer, 422, "invalid")), expected);

    // The list of errors is bounded, and so is the list of items.
    let body = json!({ "user_id": "7", "currency": "eur", "items": vec![json!({}); 100] });
    let answer = api.write("POST", "/api/v1/orders", "", &body);
    assert_eq!(errors(&problem(&answer, 422, "invalid")).len(), 50);
    let user = api.user("ada@example.com");
    let mut long = order(&user);
    for count in [0, 101] {
        long["items"] = vec![order(&user)["items"][0].clone(); count].into();
        let answer = api.write("POST", "/api/v1/orders", "", &long);
        let found = errors(&problem(&answer, 422, "invalid"));
        assert_eq!(found, pairs(&[("/items", "wrong-length")]));
    }

    for (name, code) in [
        ("", "empty"),
        (" \u{2003} ", "empty"),
        ("a\u{0}b", "control-character"),
        (&"a".repeat(201), "too-long"),
    ] {
        let body = json!({ "email": "ada@example.com", "name": name });
        let answer = api.write("POST", "/api/v1/users", "", &body);
        let found = errors(&problem(&answer, 422, "invalid"));
        assert_eq!(found, pairs(&[("/name", code)]));
    }
    for email in [
        "ada",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a\n@b",
        &format!("{}@b", "a".repeat(319)),
    ] {
        let body = json!({ "email": email, "name": "Ada" });
        let answer = api.write("POST", "/api/v1/users", "", &body);
        let found = errors(&problem(&answer, 422, "invalid"));
        assert_eq!(found[0].0, "/email", "{email}");
    }
}

#[test]
fn unreadable_requests_are_problems() {
    let api = Api::start(&[("BODY_LIMIT", "1KiB")]);
    let json = "content-type: application/json\r\n";
    let post = |headers: &str, body: &str| api.send("POST", "/api/v1/users", headers, body);
    for body in ["", "{", "{\"email\":\"\\ud800\"}", "nul", "\u{feff}{}"] {
        problem(&post(json, body), 400, "not-json");
    }
    // Others may read the other one of the two.
    for body in [
        r#"{"email":"ada@example.com","name":"Ada","email":"eve@example.com"}"#,
        r#"{"email":"ada@example.com","name":"Ada","a":[{"b":1,"\u0062":1}]}"#,
    ] {
        let twice = problem(&post(json, body), 400, "not-json");
        let detail = text(&twice["detail"]);
        assert!(detail.contains("twice"), "{detail}");
    }
    for body in ["[]", "null", "1e3"] {
        let found = errors(&problem(&post(json, body), 422, "invalid"));
        assert_eq!(found, pairs(&[("", "wrong-type")]));
    }
    for kind in ["", "content-type: text/json\r\n", "content-type: x\r\n"] {
        problem(&post(kind, "{}"), 415, "unsupported-media-type");
    }
    for kind in [
        "Application/JSON; charset=utf-8",
        "application/merge-patch+json",
    ] {
        let kind = format!("content-type: {kind}\r\n");
        problem(&post(&kind, "{}"), 422, "invalid");
    }
    let ada = r#"{"email":"ada@example.com","name":"Ada"}"#;
    for encoding in ["gzip", "identity, br", "\u{fc}"] {
        let headers = format!("{json}content-encoding: {encoding}\r\n");
        problem(&post(&headers, ada), 415, "unsupported-encoding");
    }
    let plain = format!("{json}content-encoding: Identity\r\n");
    assert_eq!(post(&plain, ada).head.status, 201);
    let answer = post(json, &"x".repeat(2000));
    problem(&answer, 413, "body-too-large");
    let instance = &problem(&api.get("/api/v2/users?a=b"), 404, "not-found")["instance"];
    assert_eq!(instance, "/api/v2/users");
    let answer = api.send("PATCH", "/api/v1/users", "", "");
    problem(&answer, 405, "method-not-allowed");
    let allow = answer.head.header("allow").expect("methods");
    let allow: HashSet<&str> = allow.split(',').map(str::trim).collect();
    assert_eq!(allow, HashSet::from(["GET", "HEAD", "POST"]));
    // Outside of the API nothing has changed.
    assert_eq!(api.get("/nowhere").text(), "no such route\n");
}

#[test]
fn retry_with_a_key_places_one_order() {
    let api = Api::start(&[]);
    let body = order(&api.user("ada@example.com"));
    let place = |key: &str, body: &Value| {
        let key = format!("idempotency-key: {key}\r\n");
        api.write("POST", "/api/v1/orders", &key, body)
    };
    let first = place("k1", &body);
    assert_eq!(first.head.status, 201, "{}", first.text());
    assert_eq!(first.head.header("idempotency-replayed"), None);
    let path = first.head.header("location").expect("a path").to_owned();
    let cancelled = api.send("POST", &format!("{path}/cancel"), "", "");
    assert_eq!(cancelled.head.status, 200);

    // The retry has the first response, whatever has happened to the order since.
    let again = place("k1", &body);
    assert_eq!(again.head.status, 201);
    assert_eq!(again.head.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.head.header("location"), Some(path.as_str()));
    assert_eq!(again.head.header("etag"), first.head.header("etag"));
    assert_eq!(again.json()["data"], first.json()["data"]);

    let mut other = body.clone();
    other["currency"] = "USD".into();
    problem(&place("k1", &other), 422, "idempotency-key-reused");
    assert_eq!(place("k2", &body).head.header("idempotency-replayed"), None);
    let listed = api.get("/api/v1/orders").json();
    assert_eq!(listed["data"].as_array().expect("orders").len(), 2);

    for key in ["", "with space", "\u{fc}", &"k".repeat(256)] {
        let found = errors(&problem(&place(key, &body), 422, "invalid"));
        assert_eq!(found, pairs(&[("Idempotency-Key", "invalid")]), "{key}");
    }
    let twice = "idempotency-key: a\r\nidempotency-key: b\r\n";
    let answer = api.write("POST", "/api/v1/orders", twice, &body);
    problem(&answer, 422, "invalid");
}

#[test]
fn retry_has_its_answer_while_no_new_orders_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let closed = path("flags.toml");
    std::fs::write(&closed, "[orders-open]\nenabled = false\nrollout = 0\n").expect("a file");
    let url = format!("sqlite://{}?mode=rwc", path("orders.db"));
    let place = |api: &Api, key: &str, body: &Value| {
        let key = format!("idempotency-key: {key}\r\n");
        api.write("POST", "/api/v1/orders", &key, body)
    };
    let open = Api::start(&[("DATABASE_URL", &url)]);
    let body = order(&open.user("ada@example.com"));
    let first = place(&open, "k1", &body);
    assert_eq!(first.head.status, 201, "{}", first.text());
    drop(open);

    let api = Api::start(&[("DATABASE_URL", &url), ("FLAGS_FILE", &closed)]);
    let again = place(&api, "k1", &body);
    assert_eq!(again.head.status, 201, "{}", again.text());
    assert_eq!(again.head.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["data"], first.json()["data"]);
    let mut other = body.clone();
    other["currency"] = "USD".into();
    problem(&place(&api, "k1", &other), 422, "idempotency-key-reused");
    let answer = place(&api, "k2", &body);
    problem(&answer, 503, "orders-closed");
    assert_eq!(answer.head.header("retry-after"), Some("60"));
    let answer = api.write("POST", "/api/v1/orders", "", &body);
    problem(&answer, 503, "orders-closed");
}

#[test]
fn pages_neither_skip_nor_repeat_while_others_insert() {
    let api = Api::start(&[]);
    let user = |number: usize| api.user(&format!("user{number}@example.com"));
    let mut ids: Vec<String> = (0..7).map(user).collect();
    let mut seen = Vec::new();
    let mut next = Some("/api/v1/users?limit=3".to_owned());
    while let Some(target) = next {
        let page = api.get(&target).json();
        assert_eq!(page["links"]["self"], target);
        let users = page["data"].as_array().expect("users");
        assert!(users.len() <= 3);
        seen.extend(users.iter().map(|user| text(&user["id"])));
        next = page["links"]["next"].as_str().map(str::to_owned);
        let cursor = page["meta"]["next_cursor"].as_str();
        assert_eq!(cursor.is_some(), next.is_some());
        if let (Some(cursor), Some(next)) = (cursor, &next) {
            assert!(next.contains(cursor), "{next}");
            if ids.len() < 9 {
                ids.push(user(ids.len()));
            }
        }
    }
    assert_eq!(seen, ids);

    for (query, parameter, code) in [
        ("limit=abc", "limit", "out-of-range"),
        ("limit=0", "limit", "out-of-range"),
        ("limit=101", "limit", "out-of-range"),
        ("limit=+5", "limit", "out-of-range"),
        ("limit=", "limit", "out-of-range"),
        ("limit=1&limit=2", "limit", "repeated"),
        ("cursor=x", "cursor", "invalid"),
        ("page=2", "page", "unknown-parameter"),
    ] {
        let answer = api.get(&format!("/api/v1/users?{query}"));
        let found = errors(&problem(&answer, 422, "invalid"));
        assert_eq!(found, pairs(&[(parameter, code)]), "{query}");
    }
}

#[test]
fn orders_are_filtered_on_every_page() {
    let api = Api::start(&[]);
    let [ada, eve] = ["ada@example.com", "eve@example.com"].map(|email| api.user(email));
    for user in [&ada, &eve, &ada, &ada, &eve] {
        let placed = api.write("POST", "/api/v1/orders", "", &order(user));
        assert_eq!(placed.head.status, 201, "{}", placed.text());
    }
    let first = api.get("/api/v1/orders").json();
    let cancelled = text(&first["data"][0]["id"]);
    let cancel = format!("/api/v1/orders/{cancelled}/cancel");
    assert_eq!(api.send("POST", &cancel, "", "").head.status, 200);

    let mut next = Some(format!("/api/v1/orders?user_id={ada}&limit=2"));
    let mut users = Vec::new();
    while let Some(target) = next {
        let page = api.get(&target).json();
        let orders = page["data"].as_array().expect("orders");
        users.extend(orders.iter().map(|order| text(&order["user_id"])));
        next = page["links"]["next"].as_str().map(str::to_owned);
    }
    assert_eq!(users, vec![ada.clone(); 3]);

    let page = api.get("/api/v1/orders?status=cancelled").json();
    assert_eq!(page["data"].as_array().expect("orders").len(), 1);
    assert_eq!(page["data"][0]["id"], cancelled);
    let page = api.get(&format!("/api/v1/orders?status=cancelled&user_id={eve}"));
    assert_eq!(page.json()["data"], json!([]));
    let answer = api.get("/api/v1/orders?status=lost&user_id=7");
    let found = errors(&problem(&answer, 422, "invalid"));
    let expected = pairs(&[("status", "unknown-status"), ("user_id", "not-a-uuid")]);
    assert_eq!(found, expected);
}

#[test]
fn lines_of_handlers_name_the_request() {
    let api = Api::start(&[]);
    let body = json!({ "email": "ada@example.com", "name": "Ada" });
    let id = "x-request-id: from-the-client\r\n";
    let created = api.write("POST", "/api/v1/users", id, &body);
    assert_eq!(created.head.header("x-request-id"), Some("from-the-client"));
    let line = api.service.logged("message", "user created");
    assert!(line.to_string().contains("from-the-client"), "{line}");
}

#[test]
fn refusal_of_the_rate_limit_is_a_problem() {
    let api = Api::start(&[("RATE_LIMIT", "1/h")]);
    assert_eq!(api.get("/api/v1/users").head.status, 200);
    let refused = api.get("/api/v1/users");
    problem(&refused, 429, "rate-limited");
    assert!(refused.head.header("retry-after").is_some());
}

#[test]
fn only_named_origins_may_call() {
    let api = Api::start(&[]);
    let own = "origin: https://app.example\r\n";
    let answer = api.send("GET", "/api/v1/users", own, "");
    assert_eq!(answer.head.header("access-control-allow-origin"), None);

    let api = Api::start(&[
        ("CORS_ORIGINS", "https://app.example, http://localhost:3000"),
        ("RATE_LIMIT", "1/h"),
    ]);
    let foreign = "origin: https://app.example.evil\r\n";
    let preflight = "access-control-request-method: POST\r\n\
                     access-control-request-headers: content-type, idempotency-key\r\n";
    let allowed = |answer: &Response| {
        let vary = answer.head.header("vary").unwrap_or_default();
        assert!(vary.to_ascii_lowercase().contains("origin"), "{vary}");
        let origin = answer.head.header("access-control-allow-origin");
        origin == Some("https://app.example")
    };
    // No preflight costs quota.
    for _ in 0..3 {
        let target = "/api/v1/orders";
        let answer = api.send("OPTIONS", target, &format!("{own}{preflight}"), "");
        assert_eq!(answer.head.status, 200);
        assert!(allowed(&answer));
        let answer = api.send("OPTIONS", target, &format!("{foreign}{preflight}"), "");
        assert!(!allowed(&answer));
    }
    let answer = api.send("GET", "/api/v1/users", own, "");
    assert_eq!(answer.head.status, 200);
    assert!(allowed(&answer));
    // A page may read why it is refused.
    let answer = api.send("GET", "/api/v1/users", own, "");
    assert_eq!(answer.head.status, 429);
    assert!(allowed(&answer));
    assert!(!allowed(&api.send("GET", "/api/v1/users", foreign, "")));
    assert!(!allowed(&api.get("/api/v1/users")));
}

#[test]
fn database_that_is_away_is_503_in_time() {
    let url = format!("postgres://user@{}/nothing", free_address());
    let service = Service::start(&[
        ("DATABASE_URL", &url),
        ("DATABASE_ACQUIRE_TIMEOUT", "500ms"),
        ("MIGRATE", "off"),
    ]);
    let begun = Instant::now();
    let answer = send(service.address, "GET", "/api/v1/users", "", "");
    problem(&answer, 503, "database-away");
    assert_eq!(answer.head.header("retry-after"), Some("1"));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let alive = client::get(service.address, "/healthz").expect("an answer");
    assert_eq!(alive.head.status, 200);
}
