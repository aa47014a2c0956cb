//! A test of a drain as users write it: README shows it.

// README: from here
use axum::{Router, routing::get};
use lameduck::Shutdown;
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test(start_paused = true)] // 10 s in the handler take no time
async fn shutdown_finishes_a_request_in_flight() {
    static STARTED: Notify = Notify::const_new();
    let slow = || async {
        STARTED.notify_one();
        tokio::time::sleep(Duration::from_secs(10)).await;
        "done"
    };
    let app = Router::new().route("/slow", get(slow));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/slow", listener.local_addr().unwrap());

    let shutdown = Shutdown::with_signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let server = lameduck::serve(listener, app).shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    let client = tokio::spawn(reqwest::get(url));

    STARTED.notified().await;
    handle.shutdown(); // as SIGTERM does
    assert_eq!(client.await.unwrap().unwrap().text().await.unwrap(), "done");
    let report = server.await.unwrap().unwrap();
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
