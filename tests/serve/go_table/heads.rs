//! The table: heads, and the time between two requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lameduck::{Limits, Timeouts};

use super::{
    GET, Handlers, assert_as_go, assert_head_too_slow, assert_same, case, ours, seconds, start,
};
use crate::support::*;

// === the head ===

#[tokio::test]
async fn s01_rht_nothing_sent() {
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S01_rht_nothing_sent")["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s02_rt_fallback_header() {
    let (server, _) = start(Timeouts::none().read(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S02_rt_fallback_header")["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s03_rht_partial_header() {
    let go = case("S03_rht_partial_header");
    assert!(ours("S03_rht_partial_header").starts_with("408 with Connection: close, then FIN"));
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    client.send("GET /ok HTTP/1.1\r\nhost: a\r\n").await;
    let ending = client.read_until_close().await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s04_rht_drip_100ms() {
    let go = case("S04_rht_drip_100ms");
    assert_eq!(ours("S04_rht_drip_100ms"), "408, not 400");
    let (server, _) = start(Timeouts::none().read_header(ms(800))).await;
    let mut client = server.connect().await;
    let ending = client.drip(GET, ms(100)).await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s04c_rht_partial_header_line() {
    let go = case("S04c_rht_partial_header_line");
    assert_eq!(ours("S04c_rht_partial_header_line"), "408, not 400");
    let (server, _) = start(Timeouts::none().read_header(ms(500))).await;
    let mut client = server.connect().await;
    client.send("GET /ok HTTP/1.1\r\nhost: a\r\nx-hal").await;
    let ending = client.read_until_close().await;
    assert_head_too_slow(&ending, seconds(&go["r"]["at"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s05_only_wt_nothing_sent() {
    let (server, _) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    let ending = client.read_until_close_for(ms(1000)).await;
    assert_as_go(&ending, &case("S05_only_wt_nothing_sent")["r"]);
    assert_eq!(server.open(), 1);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s24_header_too_large() {
    let handlers = Handlers::default();
    let limits = Limits::default().max_header_bytes(1024);
    let server = Setup::new().limits(limits).start(handlers.app()).await;
    let mut client = server.connect().await;
    let long = "a".repeat(8 * 1024);
    client
        .send(format!(
            "GET /ok HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        ))
        .await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S24_header_too_large")["r"]);
    assert_eq!(handlers.oks.load(Ordering::Relaxed), 0);
    drop(client);
    server.finish().await;
}

// === between two requests ===

#[tokio::test]
async fn s06_idle_timeout() {
    let go = case("S06_idle_timeout");
    let (server, _) = start(Timeouts::none().idle(ms(700))).await;
    let mut client = server.connect().await;
    assert_same(&client.ask(GET).await, &go["first"]);
    client.mark();
    assert_as_go(&client.read_until_close().await, &go["r"]);
    server.finish().await;
}

#[tokio::test]
async fn s07_idle_fallback_to_rt() {
    let (server, _) = start(Timeouts::none().read(ms(700))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S07_idle_fallback_to_rt")["r"]);
    server.finish().await;
}

/// Sends `bytes` on a connection that has answered once, at once or after it was parked.
async fn next_begins_with(bytes: &str, after: Duration) -> Ending {
    let (server, _) = start(Timeouts::none().read_header(ms(300)).idle(ms(1500))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    client.sleep_until(after).await;
    client.mark();
    client.send(bytes).await;
    let ending = client.read_until_close().await;
    drop(client);
    server.finish().await;
    ending
}

#[tokio::test]
async fn s09_idle_then_3_bytes() {
    case("S09_idle_then_3_bytes");
    let differs = "the header deadline starts at the first byte, not the fourth";
    assert_eq!(ours("S09_idle_then_3_bytes"), differs);
    let (at_once, parked) = tokio::join!(
        next_begins_with("GET", Duration::ZERO),
        next_begins_with("GET", ms(500)),
    );
    assert_head_too_slow(&at_once, ms(300));
    assert_head_too_slow(&parked, ms(300));
}

#[tokio::test]
async fn s10_idle_then_4_bytes() {
    let go = case("S10_idle_then_4_bytes");
    assert_eq!(ours("S10_idle_then_4_bytes"), "408 at 0.3");
    let (at_once, parked) = tokio::join!(
        next_begins_with("GET ", Duration::ZERO),
        next_begins_with("GET ", ms(500)),
    );
    assert_head_too_slow(&at_once, seconds(&go["r"]["at"]));
    assert_head_too_slow(&parked, seconds(&go["r"]["at"]));
}

#[tokio::test]
async fn s11_rht_not_running_while_idle() {
    let (server, _) = start(Timeouts::none().read_header(ms(400))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.text(), "ok 1");
    client.mark();
    client.sleep_until(ms(800)).await;
    let second = client.ask(GET).await;
    assert_same(&second, &case("S11_rht_not_running_while_idle")["second"]);
    drop(client);
    server.finish().await;
}
