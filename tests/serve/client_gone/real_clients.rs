//! Clients that people have: curl, Python, netcat, and one over HTTP/2.

use std::process::{Command, Output, Stdio};

use lameduck::Timeouts;

use super::{Did, Leave, SOON, leave, next, service};
use crate::support::{Server, Setup, kind, ms, within};

// === HTTP/2 ===

/// Encodes a GET without HPACK's tables.
fn h2_get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    crate::support::Frame::new(kind::HEADERS, 5, stream, block).bytes()
}

#[tokio::test]
async fn http2_client_gone_ends_its_handlers() {
    for how in [Leave::Reset, Leave::Close] {
        let (app, mut did) = service();
        let server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client
            .send(crate::support::Frame::new(kind::SETTINGS, 0, 0, []).bytes())
            .await;
        for (stream, path) in [(1, "/slow"), (3, "/stream"), (5, "/keep")] {
            client.send(h2_get(stream, path)).await;
            assert_eq!(next(&mut did).await, Did::Begin);
        }
        leave(client, how).await;
        for _ in 0..3 {
            assert_eq!(next(&mut did).await, Did::Dropped, "{how:?}");
        }
        server.until_open(0).await;
        let reported = server.reported();
        let gone = reported
            .iter()
            .filter(|line| line.starts_with("client gone"));
        assert_eq!(gone.count(), 3, "{reported:?}");
        server.finish().await;
    }
}

// === the clients that people have ===

fn run(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).output();
    command.expect("a client that tests/run installs")
}

/// Runs a client that gives up after a while, and expects its handler to be dropped.
async fn gives_up(client: impl FnOnce(String) -> Command) {
    let (app, mut did) = service();
    let server = Setup::new().start(app).await;
    let mut command = client(format!("http://{}/slow", server.addr));
    let client = tokio::task::spawn_blocking(move || run(&mut command));
    assert_eq!(next(&mut did).await, Did::Begin);
    let output = within(SOON, "the client gives up", client).await.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(next(&mut did).await, Did::Dropped, "{output:?}");
    server.until_open(0).await;
    server.finish().await;
}

#[tokio::test]
async fn curl_and_python_giving_up_end_the_handler() {
    gives_up(|url| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "0.3", &url]);
        curl
    })
    .await;
    gives_up(|url| {
        let mut curl = Command::new("timeout");
        curl.args(["--signal=INT", "0.4", "curl", "--silent", &url]);
        curl
    })
    .await;
    gives_up(|url| {
        let mut python = Command::new("python3");
        let program =
            "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=0.3)";
        python.args(["-c", program, &url]);
        python
    })
    .await;
}

#[tokio::test]
async fn half_closing_netcat_is_answered() {
    let (app, _did) = service();
    let server = Setup::new().start(app).await;
    let script = format!(
        "printf 'GET /slow?300 HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n' | nc -N {} {}",
        server.addr.ip(),
        server.addr.port()
    );
    let output = tokio::task::spawn_blocking(move || run(Command::new("sh").args(["-c", &script])));
    let output = within(SOON, "netcat", output).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{output:?}");
    assert!(text.ends_with("\r\n\r\nlate"), "{output:?}");
    server.finish().await;
}

#[tokio::test]
async fn report_counts_clients_that_left_and_requests_out_of_time() {
    let (app, mut did) = service();
    let timeouts = Timeouts::none().response_head(ms(500));
    let server = Server::start(timeouts, app).await;
    let mut leaver = server.connect().await;
    leaver.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(
        within(SOON, "the handler", did.recv()).await,
        Some(Did::Begin)
    );
    drop(leaver);
    assert_eq!(
        within(SOON, "its end", did.recv()).await,
        Some(Did::Dropped)
    );
    let mut late = server.connect().await;
    let answer = late.ask("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status, 503);
    drop(late);
    let report = server.finish().await;
    assert_eq!((report.timed_out, report.client_gone), (1, 1), "{report}");
    let text = report.to_string();
    assert!(
        text.contains(", 1 timed out, 1 abandoned by the client"),
        "{text}"
    );
}
