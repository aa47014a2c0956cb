//! Clients that are gone, to the millisecond, over a transport in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use lameduck::events::CloseReason;
use lameduck::serve::{Connections, RequestBody, serve_connection_with_timeouts};
use lameduck::{ConnInfo, Limits, Timeouts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::{Did, HOST, service};
use crate::support::{Odd, WriteSide, app, ms, reply, within};

/// Returns what the server does on its side of `io` while the client does `client`.
async fn in_memory<R>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: impl Future<Output = R>,
) -> (R, Vec<(Did, Duration)>, CloseReason) {
    let (app, mut did) = service();
    let began = Instant::now();
    let connection = serve_connection_with_timeouts(io, app, Timeouts::none()).unwrap();
    let mut connection = tokio::spawn(connection);
    let result = client.await;
    let closed = within(Duration::from_secs(300), "the end", &mut connection)
        .await
        .unwrap();
    let mut all = Vec::new();
    while let Ok(next) = did.try_recv() {
        all.push((next, began.elapsed()));
    }
    (result, all, closed)
}

#[tokio::test(start_paused = true)]
async fn close_is_detected_after_100_ms() {
    for path in ["/slow", "/stream"] {
        let (mut client, io) = duplex(1024);
        let ((), did, closed) = in_memory(io, async move {
            client
                .write_all(format!("GET {path} HTTP/1.1\r\n{HOST}\r\n").as_bytes())
                .await
                .unwrap();
            tokio::time::sleep(ms(10)).await;
        })
        .await;
        assert_eq!(closed, CloseReason::ClientGone);
        let [(Did::Begin, _), (Did::Dropped, at)] = did[..] else {
            panic!("{did:?}");
        };
        assert!(at >= ms(110) && at < ms(120), "{path}: {at:?}");
    }
}

/// A transport whose reads keep returning end of file, as TLS does after a `close_notify`; the peer is gone, and the
/// second write fails.
struct Hidden {
    written: usize,
}

impl WriteSide for Hidden {
    fn write(
        &mut self,
        _: Pin<&mut DuplexStream>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written += 1;
        match self.written {
            1 => Poll::Ready(Ok(buf.len())),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn flush(&mut self, _: Pin<&mut DuplexStream>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn shutdown(&mut self, _: Pin<&mut DuplexStream>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn second_write_detects_a_reset_hidden_by_unread_data() {
    let (mut client, io) = duplex(1024);
    let ((), did, closed) = in_memory(
        Odd {
            io,
            odd: Hidden { written: 0 },
        },
        async move {
            client
                .write_all(format!("GET /slow HTTP/1.1\r\n{HOST}\r\n").as_bytes())
                .await
                .unwrap();
        },
    )
    .await;
    assert_eq!(closed, CloseReason::ClientGone);
    assert!(did[1].1 < ms(250), "{did:?}");
}

/// A transport that accepts a given number of bytes per write.
struct Narrow(usize);

impl WriteSide for Narrow {
    fn write(
        &mut self,
        io: Pin<&mut DuplexStream>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.0.min(buf.len());
        io.poll_write(cx, &buf[..most])
    }
}

/// The client reads one response, whatever part of the first bytes the probe sends, whenever the handler answers, and
/// however hyper's bytes are split.
#[tokio::test(start_paused = true)]
async fn probed_response_is_whole_however_it_is_split() {
    for room in 1..=12 {
        for most in 1..=12 {
            for (version, wait) in [
                ("1.1", 50),
                ("1.1", 105),
                ("1.0", 150),
                ("1.1", 200),
                ("1.0", 1000),
            ] {
                let (mut client, io) = duplex(room);
                let (text, did, closed) = in_memory(
                    Odd {
                        io,
                        odd: Narrow(most),
                    },
                    async move {
                        let request = format!("GET /slow?{wait} HTTP/{version}\r\n{HOST}\r\n");
                        client.write_all(request.as_bytes()).await.unwrap();
                        client.shutdown().await.unwrap();
                        let mut text = String::new();
                        client.read_to_string(&mut text).await.unwrap();
                        text
                    },
                )
                .await;
                let case =
                    format!("{room} bytes of room, {most} a write, HTTP/{version} after {wait} ms");
                assert!(
                    text.starts_with(&format!("HTTP/{version} 200 OK\r\n")),
                    "{case}: {text:?}"
                );
                assert!(text.ends_with("\r\n\r\nlate"), "{case}: {text:?}");
                assert_eq!(text.matches("HTTP/").count(), 1, "{case}: {text:?}");
                assert_eq!(closed, CloseReason::Ended, "{case}");
                assert!(
                    matches!(did[..], [(Did::Begin, _), (Did::End, _)]),
                    "{case}: {did:?}"
                );
            }
        }
    }
}

/// A handler's response may carry another version than its request, begin with an error, or be cancelled.
#[tokio::test(start_paused = true)]
async fn every_response_begins_as_the_probe_does() {
    let respond = app(|request: Request<RequestBody>| async move {
        tokio::time::sleep(ms(300)).await;
        let mut response = reply(404, "none");
        if request.uri().path() == "/old" {
            *response.version_mut() = http::Version::HTTP_10;
        }
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        response
    });
    let timeouts = Timeouts::none().write(ms(500));
    let connections = Connections::new(timeouts, Limits::default()).unwrap();
    for (path, begins) in [
        ("/", "HTTP/1.1 404 Not Found\r\n"),
        // The server decides the version.
        ("/old", "HTTP/1.1 404 Not Found\r\n"),
        ("/hang", "HTTP/1.1 503 Service Unavailable\r\n"),
    ] {
        let (mut client, io) = duplex(1024);
        let serve = connections.serve(io, ConnInfo::default(), respond.clone());
        let serve = tokio::spawn(serve);
        client
            .write_all(format!("GET {path} HTTP/1.1\r\n{HOST}\r\n").as_bytes())
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with(begins), "{path}: {text:?}");
        assert_eq!(text.matches("HTTP/").count(), 1, "{text:?}");
        serve.await.unwrap();
    }
}
