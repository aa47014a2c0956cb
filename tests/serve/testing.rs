//! A test of a drain as users write it: README shows it.

// README: from here
use axum::{Router, routing::get};
use lameduck::Server;
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test(start_paused = true)] // 8 s in the handler take no time
async fn shutdown_finishes_a_request_in_flight() {
    static STARTED: Notify = Notify::const_new();
    let slow = || async {
        STARTED.notify_one();
        tokio::time::sleep(Duration::from_secs(8)).await;
        "done"
    };
    let app = Router::new().route("/slow", get(slow));
    let server = Server::for_tests().serve("127.0.0.1:0", app);
    let running = server.spawn().await.unwrap();
    let url = format!("http://{}/slow", running.addr().unwrap());
    let client = tokio::spawn(reqwest::get(url));

    STARTED.notified().await;
    let report = running.shutdown().await.unwrap(); // begins it, as SIGTERM does, and waits for its end
    assert_eq!(client.await.unwrap().unwrap().text().await.unwrap(), "done");
    assert!(report.is_clean() && report.requests == 1, "{report}");
}
// README: to here

#[test]
fn readme_shows_this_test() {
    let (source, readme) = (include_str!("testing.rs"), include_str!("../../README.md"));
    let (_, test) = source.split_once("// README: from here\n").unwrap();
    let (test, _) = test.split_once("// README: to here\n").unwrap();
    assert!(readme.contains(test), "README.md lacks:\n{test}");
}
