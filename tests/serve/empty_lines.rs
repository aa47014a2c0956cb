//! Empty lines before a request are ignored (RFC 9112, 2.2), a few of them.

use http::Request;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use crate::support::{App, How, Raw, Server, app, ms, reply};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";

/// Builds a service that leaves every body unread.
fn service() -> App {
    app(|_: Request<RequestBody>| async { reply(200, "ok") })
}

/// The places of empty lines: the bytes before them, and the number of answers to those.
const PLACES: [(&str, &str, usize); 3] = [
    ("fresh", "", 0),
    ("behind a request", GET, 1),
    ("behind a body that is discarded", POST, 1),
];

/// Opens a connection that counts as busy: its last pause was short.
async fn warm(server: &Server) -> Raw {
    let mut client = server.connect().await;
    for _ in 0..2 {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    client
}

#[tokio::test]
async fn few_empty_lines_are_ignored() {
    let server = Server::start(Timeouts::none(), service()).await;
    for lines in ["\r\n", "\n", "\r\n\r\n\r\n\r\n", "\n\n\n\n\n\n\n\n"] {
        for (place, before, answers) in PLACES {
            // The lines arrive in one segment, or one by one.
            let mut client = server.connect().await;
            client.send(format!("{before}{lines}{GET}")).await;
            for _ in 0..=answers {
                assert_eq!(client.read_response().await.status, 200, "{place}");
            }
            for _ in 0..3 {
                client.send(lines).await;
                tokio::time::sleep(ms(5)).await;
                assert_eq!(
                    client.ask(format!("{lines}{GET}")).await.status,
                    200,
                    "{place}"
                );
            }
        }
    }
    server.finish().await;
}

/// Asserts the answers to earlier requests, then a 400 that closes, and the end.
async fn assert_refused(mut client: Raw, answers: usize, what: &str) {
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Fin, "{what}: {:?}", ending.text());
    let all = ending.answers();
    let statuses: Vec<_> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.len(), answers + 1, "{what}: {statuses:?}");
    // The refusal is that of an oversized head if hyper had read the lines along with a body.
    let status = statuses[answers];
    assert!(matches!(status, 400 | 431), "{what}: {statuses:?}");
    assert!(all[answers].closes(), "{what}");
}

#[tokio::test]
async fn many_empty_lines_are_refused() {
    let server = Server::start(Timeouts::none(), service()).await;
    for (place, before, answers) in PLACES {
        for size in [1_500, 10_000, 200_000] {
            for behind in ["", "GET / HT", GET] {
                // Lines that hyper reads along with the previous request are skipped there at once, up to the head
                // limit.
                if size < 200_000 && answers > 0 && !behind.is_empty() {
                    continue;
                }
                let what = format!("{place}, {size} lines, then {behind:?}");
                let lines = "\r\n".repeat(size);
                let mut client = server.connect().await;
                client.send(format!("{before}{lines}{behind}")).await;
                assert_refused(client, answers, &what).await;
            }
        }
    }
    // The lines arrive one at a time.
    let mut client = server.connect().await;
    for _ in 0..200 {
        if client.try_send("\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(ms(1)).await;
    }
    assert_refused(client, 0, "one at a time").await;
    // hyper holds the connection.
    let mut client = warm(&server).await;
    client.send("\r\n".repeat(2_000)).await;
    assert_refused(client, 0, "warm").await;
    let mut client = warm(&server).await;
    client.send(format!("{GET}{}", "\n".repeat(3_000))).await;
    assert_refused(client, 1, "warm, behind a request").await;
    server.until_open(0).await;
    server.finish().await;
}

/// A carriage return without its line feed is not an empty line (RFC 9112, 2.2).
#[tokio::test]
async fn bare_carriage_returns_are_refused() {
    let server = Server::start(Timeouts::none(), service()).await;
    for lines in ["\r", "\r\r", "\r\n\r", "\r\r\n", "\n\r"] {
        for (place, before, answers) in PLACES {
            // The lines arrive in one segment, or one by one.
            let what = format!("{place}, {lines:?}");
            let mut client = server.connect().await;
            client.send(format!("{before}{lines}{GET}")).await;
            assert_refused(client, answers, &what).await;
            let mut client = server.connect().await;
            client.send(before).await;
            for byte in lines.bytes() {
                tokio::time::sleep(ms(5)).await;
                let _ = client.try_send([byte]).await;
            }
            let _ = client.try_send(GET).await;
            assert_refused(client, answers, &what).await;
        }
        let mut client = warm(&server).await;
        client.send(format!("{lines}{GET}")).await;
        assert_refused(client, 0, lines).await;
    }
    server.until_open(0).await;
    server.finish().await;
}

#[tokio::test]
async fn empty_lines_keep_deadlines() {
    let timeouts = Timeouts::none().read_header(ms(300)).idle(ms(300));
    let server = Server::start(timeouts, service()).await;
    for (place, before, _) in PLACES {
        // The count is the number of ignored lines.
        for behind in ["", "GET / HT"] {
            let mut client = server.connect().await;
            client
                .send(format!("{before}{}{behind}", "\r\n".repeat(16)))
                .await;
            let ending = client.read_until_close_for(ms(4_000)).await;
            assert_ne!(ending.how, How::StillOpen, "{place}, {behind:?}");
        }
    }
    server.until_open(0).await;
}
