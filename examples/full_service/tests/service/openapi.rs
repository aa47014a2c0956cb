//! The document that describes the API.

use crate::support::api::Api;

/// The file is what clients are made from: `curl -s localhost:8080/openapi.json > openapi.json` writes it anew.
#[test]
fn committed_document_is_what_is_served() {
    let served = Api::start(&[]).get("/openapi.json");
    assert_eq!(served.head.status, 200);
    assert_eq!(served.head.header("content-type"), Some("application/json"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("OPENAPI_WRITE").is_some() {
        std::fs::write(path, &served.body).expect("a file");
    }
    let committed = std::fs::read_to_string(path).expect("a file");
    assert_eq!(served.text(), committed);
}

#[test]
fn document_names_each_operation() {
    let document = Api::start(&[]).get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let mut found: Vec<String> = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation["responses"]["503"].is_object(), "{method} {path}");
            found.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    found.sort();
    let expected = [
        "DELETE /api/v1/users/{id}",
        "GET /api/v1/orders",
        "GET /api/v1/orders/{id}",
        "GET /api/v1/users",
        "GET /api/v1/users/{id}",
        "POST /api/v1/orders",
        "POST /api/v1/orders/{id}/cancel",
        "POST /api/v1/users",
        "PUT /api/v1/orders/{id}",
        "PUT /api/v1/users/{id}",
    ];
    assert_eq!(found, expected);
}
