//! The table: bodies and answers.

use std::sync::atomic::Ordering;

use lameduck::Timeouts;

use super::{
    GET, assert_as_go, assert_same, assert_time, case, go_answer, ours, post, seconds, start,
};
use crate::support::*;

// === the body ===

#[tokio::test]
async fn s13_rt_body_stall() {
    let (server, _) = start(Timeouts::none().read(ms(600))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 10, "abc")).await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S13_rt_body_stall")["r"]);
    let text = ending.answer().text();
    assert_eq!(text, "n=3 err=the request body did not arrive in time");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s14_rht_cleared_after_headers() {
    let (server, _) = start(Timeouts::none().read_header(ms(400))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 10, "abcde")).await;
    client.sleep_until(ms(1000)).await;
    let answer = client.ask("fghij").await;
    assert_same(&answer, &case("S14_rht_cleared_after_headers")["r"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s15_rt_does_not_limit_handler() {
    let go = case("S15_rt_does_not_limit_handler");
    let (server, _) = start(Timeouts::none().read(ms(500))).await;
    let mut client = server.connect().await;
    let answer = client
        .ask("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_same(&answer, &go["r"]);
    assert_time(client.elapsed(), seconds(&go["took"]));
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s21_wt_includes_body_read_time_ok() {
    let (server, _) = start(Timeouts::none().write(ms(700))).await;
    let mut client = server.connect().await;
    client.send(post("/read", 5, "")).await;
    client.sleep_until(ms(500)).await;
    let answer = client.ask("abcde").await;
    assert_same(&answer, &case("S21_wt_includes_body_read_time_ok")["r"]);
    drop(client);
    server.finish().await;
}

/// Go's reader closes the connection; so does a handler here that asks for it. Otherwise the rest, which is small, is
/// discarded and the connection continues.
#[tokio::test]
async fn s25_maxbytes_over_cl() {
    let (server, _) = start(Timeouts::none()).await;
    let body = "a".repeat(1000);
    let mut client = server.connect().await;
    client.send(post("/limited/close", 1000, &body)).await;
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("S25_maxbytes_over_cl")["r"]);

    let mut client = server.connect().await;
    let answer = client.ask(post("/limited", 1000, &body)).await;
    assert_eq!(answer.status, 413);
    assert!(!answer.closes(), "{answer:?}");
    assert_eq!(client.ask(GET).await.text(), "ok 1");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s26_maxbytes_exact() {
    let go = case("S26_maxbytes_exact");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let body = "a".repeat(100);
    assert_same(&client.ask(post("/limited", 100, &body)).await, &go["r"]);
    assert_same(&client.ask(GET).await, &go["second"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s31_expect_continue_accepted() {
    let go = case("S31_expect_continue_accepted");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let head =
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    let interim = client.ask(head).await;
    assert_eq!(interim.status, go_answer(&go["interim"]).status);
    assert_same(&client.ask("abcde").await, &go["final"]);
    drop(client);
    server.finish().await;
}

// === the answer ===

#[tokio::test]
async fn s18_wt_handler_too_slow() {
    case("S18_wt_handler_too_slow");
    let differs = ours("S18_wt_handler_too_slow");
    assert!(differs.starts_with("at 0.5: the handler is cancelled; a 503"));
    let (server, handlers) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let ending = client.read_until_close().await;
    assert_eq!(handlers.log(), ["sleep ended"], "cancelled, and by now");
    assert_eq!(ending.how, How::Fin);
    assert_time(ending.at, ms(500));
    let answer = ending.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.closes(), "{answer:?}");
    server.finish().await;
}

/// Go's close looks like a complete response; ours is a reset, which no client mistakes for one.
#[tokio::test]
async fn s19_wt_streaming_truncated() {
    let go = case("S19_wt_streaming_truncated");
    let (server, _) = start(Timeouts::none().write(ms(600))).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Reset);
    assert_time(ending.at, seconds(&go["r"]["at"]));
    let answer = ending.answer();
    assert_eq!(answer.status, 200);
    assert!(!answer.complete, "{answer:?}");
    let tail = go["tail"].as_str().expect("what came last");
    assert!(tail.contains("chunk 5\n") && !tail.contains("chunk 6\n"));
    let text = answer.text();
    assert!(
        text.contains("chunk 4\n") && !text.contains("chunk 7\n"),
        "{text:?}"
    );
    server.finish().await;
}

#[tokio::test]
async fn s23_wt_reset_per_request() {
    let go = case("S23_wt_reset_per_request");
    let (server, handlers) = start(Timeouts::none().write(ms(500))).await;
    let mut client = server.connect().await;
    for request in 0..4 {
        client.sleep_until(ms(300) * request).await;
        assert_eq!(client.ask(GET).await.status, 200);
    }
    assert_eq!(handlers.oks.load(Ordering::Relaxed), go["oks"]);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn s32_timeouthandler() {
    let go = case("S32_timeouthandler");
    let (server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    let answer = client.ask("GET /timed HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_same(&answer, &go["r"]);
    assert_time(client.elapsed(), seconds(&go["took"]));
    // A 503 of the handler's own is an answer like any other.
    assert_eq!(client.ask(GET).await.status, 200);
    drop(client);
    server.finish().await;
}
