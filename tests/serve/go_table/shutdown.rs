//! The table: the shutdown.

use std::time::Duration;

use lameduck::{Limits, Timeouts};

use super::{
    GET, Handlers, assert_as_go, assert_same, assert_time, case, go_answer, ours, seconds, start,
};
use crate::support::*;

#[tokio::test]
async fn sd_idle_keepalive() {
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &case("SD_idle_keepalive")["r"]);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_active() {
    let go = case("SD_active");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?1200 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(200)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &go["r"]);
    assert_same(&ending.answer(), &go["r"]["data"]);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_streaming() {
    let go = case("SD_streaming");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.sleep_until(ms(500)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_as_go(&ending, &go["r"]);
    assert!(
        ending
            .text()
            .ends_with(go["tail"].as_str().expect("its end"))
    );
    let answer = ending.answer();
    assert!(answer.complete);
    assert_eq!(answer.text().lines().count(), 20);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn sd_new_no_bytes() {
    case("SD_new_no_bytes");
    let differs = "closed within a short window that is stated, never 5 s of polling";
    assert_eq!(ours("SD_new_no_bytes"), differs);
    let handlers = Handlers::default();
    let limits = Limits::default().drain_window(ms(300));
    let mut server = Setup::new().limits(limits).start(handlers.app()).await;
    let mut client = server.connect().await;
    server.until_open(1).await;
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Fin, ""));
    assert_time(ending.at, ms(300));
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

async fn upgrade(server: &Server, path: &str) -> Raw {
    let mut client = server.connect().await;
    let answer = client
        .ask(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
        ))
        .await;
    let go = go_answer(&case("SD_hijacked")["r"]["data"]);
    assert_eq!(answer.status, go.status);
    assert_eq!(answer.header("upgrade"), go.header("upgrade"));
    client
}

#[tokio::test]
async fn sd_hijacked() {
    let differs = "counted, told, waited for within the drain budget";
    assert_eq!(ours("SD_hijacked"), differs);
    let handlers = Handlers::default();
    let setup = Setup::new().drain(ms(600));
    let mut server = setup.start(handlers.app()).await;
    let lifecycle = server.handle.lifecycle().clone();
    *handlers.lifecycle.lock().unwrap() = Some(lifecycle);
    let mut notified = upgrade(&server, "/upgrade/told").await;
    let mut deaf = upgrade(&server, "/upgrade/deaf").await;
    // The connection is counted.
    assert_eq!(server.open(), 2);
    notified.mark();
    deaf.mark();
    server.handle.drain_now();
    // The connection is notified: it says goodbye at once.
    let ending = notified.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Fin, "bye"));
    assert_time(ending.at, Duration::ZERO);
    // The drain waits for the connection as long as it may, then cuts and reports it.
    let ending = deaf.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert_time(ending.at, ms(600));
    let report = server.report().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    let cut = &report.cut[0];
    assert_eq!(
        (cut.method.as_str(), cut.path.as_str()),
        ("GET", "/upgrade/deaf")
    );
    assert_eq!(cut.state, "upgraded");
    assert_eq!(server.open(), 0);
}

#[tokio::test]
async fn sd_new_conn_after() {
    let go = case("SD_new_conn_after");
    assert_eq!(go["result"], "refused");
    let (mut server, _) = start(Timeouts::none()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?500 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(100)).await;
    server.handle.drain_now();
    // The listener closes as soon as its queue is empty.
    let refused = async {
        loop {
            match tokio::net::TcpStream::connect(server.addr).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error.kind(),
            }
        }
    };
    let refused = within(ms(300), "a refusal", refused).await;
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    assert_eq!(client.read_response().await.text(), "slept");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

/// Go gives up and leaves the connection to the end of the process; lameduck cuts it at that moment by a reset, and the
/// report names it.
#[tokio::test]
async fn sd_grace_expired() {
    let go = case("SD_grace_expired");
    let handlers = Handlers::default();
    let setup = Setup::new().drain(ms(500));
    let mut server = setup.start(handlers.app()).await;
    let mut client = server.connect().await;
    client
        .send("GET /sleep?3000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.sleep_until(ms(100)).await;
    client.mark();
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.text().as_str()), (How::Reset, ""));
    assert_time(ending.at, seconds(&go["r"]["at"]));
    let report = server.report().await;
    assert!(!report.is_clean());
    assert_eq!(report.cut.len(), 1, "{report}");
    let cut = &report.cut[0];
    assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/sleep"));
    assert_eq!(cut.state, "in the handler");
    assert_eq!(handlers.log(), ["sleep ended"], "cancelled");
}
