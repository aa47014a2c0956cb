//! Clients that place orders, and repeat one with its key until it is answered.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::sleep,
    time::Duration,
};

use serde_json::json;

use super::fleet::{Fleet, Instance};
use crate::support::{
    api::text,
    client::{Client, Response},
};

/// What clients have seen.
#[derive(Default)]
pub struct Seen {
    pub requests: usize,
    /// The ids of the orders that were answered 201.
    pub placed: Vec<String>,
    /// Orders that were answered only when they were repeated.
    pub replayed: usize,
    /// Requests without an answer, or with one that must not be.
    pub lost: Vec<String>,
    /// Requests that the kill of their instance has cost.
    pub lost_by_kill: usize,
}

/// A client with at most one connection.
struct Customer<'a> {
    fleet: &'a Fleet,
    open: Option<(Arc<Instance>, Client)>,
    seen: Seen,
}

/// Places orders for a user until the stop. `name` is in the key of each order, and in its SKU.
pub fn place_orders(fleet: &Fleet, user: &str, name: &str, stop: &AtomicBool) -> Seen {
    let mut customer = Customer {
        fleet,
        open: None,
        seen: Seen::default(),
    };
    for number in 1.. {
        if stop.load(SeqCst) {
            break;
        }
        let id = customer.place(user, &format!("{name}-{number}"));
        let found = customer.until_answered(
            &format!("GET /api/v1/orders/{id} HTTP/1.1\r\nhost: test\r\n\r\n"),
            200,
        );
        assert_eq!(text(&found.json()["data"]["id"]), id);
        customer.seen.placed.push(id);
        sleep(Duration::from_micros(fastrand::u64(0..20_000)));
    }
    customer.seen
}

impl Customer<'_> {
    /// Places an order; returns its id.
    fn place(&mut self, user: &str, key: &str) -> String {
        let item = json!({ "sku": key, "quantity": 1, "unit_price": 1250 });
        let order = json!({ "user_id": user, "currency": "EUR", "items": [item] }).to_string();
        let request = format!(
            "POST /api/v1/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{order}",
            order.len()
        );
        let answer = self.until_answered(&request, 201);
        if answer.head.header("idempotency-replayed").is_some() {
            self.seen.replayed += 1;
        }
        text(&answer.json()["data"]["id"])
    }

    /// Sends a request until its answer has this status.
    fn until_answered(&mut self, request: &str, status: u16) -> Response {
        let mut after_a_kill = false;
        loop {
            let (instance, answer) = self.send(request);
            self.seen.requests += 1;
            let how = match answer {
                Ok(answer) if answer.head.status == status => return answer,
                // The transaction of the process that was killed has not ended yet.
                Ok(answer) if answer.head.status == 409 && after_a_kill => {
                    sleep(Duration::from_millis(20));
                    continue;
                }
                Ok(answer) => format!("{} {}", answer.head.status, answer.text()),
                Err(error) => error.to_string(),
            };
            if instance.was_killed() {
                after_a_kill = true;
                self.seen.lost_by_kill += 1;
            } else {
                let line = request.lines().next().unwrap_or_default();
                self.seen.lost.push(format!("{line}: {how}"));
                // A failure that stays is seen at the first few.
                assert!(self.seen.lost.len() < 20, "{:#?}", self.seen.lost);
            }
        }
    }

    fn send(&mut self, request: &str) -> (Arc<Instance>, io::Result<Response>) {
        // A client with a pool notices that its idle connection was closed.
        let open = self.open.take().filter(|(_, client)| client.is_open());
        let (instance, client) = match open {
            Some((instance, client)) => (instance, Ok(client)),
            None => {
                let instance = self.fleet.pick();
                let client = Client::connect(instance.address);
                (instance, client)
            }
        };
        let answer = client.and_then(|mut client| {
            client.send(request.as_bytes())?;
            let answer = client.response()?;
            if answer.head.header("connection") != Some("close") {
                self.open = Some((instance.clone(), client));
            }
            Ok(answer)
        });
        (instance, answer)
    }
}

impl Seen {
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.placed.extend(other.placed);
        self.replayed += other.replayed;
        self.lost.extend(other.lost);
        self.lost_by_kill += other.lost_by_kill;
    }
}
