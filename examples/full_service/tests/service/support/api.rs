//! A client of the API.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    client::{Client, Response},
    service::Service,
};

/// The service on a SQLite file of its own.
pub struct Api {
    pub service: Service,
    _directory: tempfile::TempDir,
}

impl Api {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("orders.db");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut all = vec![("DATABASE_URL", url.as_str()), ("RATE_LIMIT", "off")];
        all.extend(environment);
        Self {
            service: Service::start_ready(&all),
            _directory: directory,
        }
    }

    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, "", "")
    }

    /// Sends JSON. `headers` are whole lines.
    pub fn write(&self, method: &str, target: &str, headers: &str, body: &Value) -> Response {
        let headers = format!("content-type: application/json\r\n{headers}");
        self.send(method, target, &headers, &body.to_string())
    }

    pub fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Response {
        send(self.service.address, method, target, headers, body)
    }

    /// Creates a user; returns its id.
    pub fn user(&self, email: &str) -> String {
        user(self.service.address, email)
    }
}

/// Creates a user; returns its id.
pub fn user(address: SocketAddr, email: &str) -> String {
    let body = json!({ "email": email, "name": "Ada" }).to_string();
    let headers = "content-type: application/json\r\n";
    let answer = send(address, "POST", "/api/v1/users", headers, &body);
    assert_eq!(answer.head.status, 201, "{}", answer.text());
    text(&answer.json()["data"]["id"])
}

pub fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Response {
    let mut client = Client::connect(address).expect("a connection");
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    client.send(request.as_bytes()).expect("sent");
    client.response().expect("an answer")
}

/// Returns the order of one item for a user.
pub fn order(user: &str) -> Value {
    let item = json!({ "sku": "duck-7", "quantity": 2, "unit_price": 1050 });
    json!({ "user_id": user, "currency": "EUR", "items": [item] })
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
