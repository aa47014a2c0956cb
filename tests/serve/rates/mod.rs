//! Stalls, minimum rates and the deadline of the response's head: slow peers are cut within their deadline, moving ones
//! are served. Runs on tokio's paused clock, over streams in memory.

mod http2;
mod responses;
mod uploads;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::events::CloseReason;
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::{MinRate, Timeouts, serve_connection_with_timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Body, app, channel, reply};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The grace of the default rates and their first window, which is doubled for a response.
const SLOW_BODY: Duration = s(5 + 10);
const SLOW_READER: Duration = s(5 + 20);

// === the service ===

async fn answer(request: Request<RequestBody>) -> Response<Body> {
    let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/large" => reply(200, vec![7; 1 << 20]),
        "/hang" => {
            sleep(s(3600)).await;
            reply(200, "at last")
        }
        "/long-poll" => {
            deadlines.set_response_head(None);
            sleep(s(90)).await;
            reply(200, "an event")
        }
        "/patient" => {
            deadlines.set_response_head(s(100));
            sleep(s(90)).await;
            reply(200, "an event")
        }
        "/leave" => reply(200, "not read"),
        "/events" => {
            let (mut sender, body) = channel();
            tokio::spawn(async move {
                while sender
                    .send_data(Bytes::from_static(b"data: x\n\n"))
                    .await
                    .is_ok()
                {
                    sleep(s(20)).await;
                }
            });
            Response::new(body)
        }
        "/pausing" => {
            let mut body = request.into_body();
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    return reply(408, "too slow");
                };
                bytes += frame.data_ref().map_or(0, Bytes::len);
                sleep(s(20)).await;
            }
            reply(200, format!("{bytes} bytes"))
        }
        "/then-hang" => {
            let _ = request.into_body().collect().await;
            sleep(s(3600)).await;
            reply(200, "at last")
        }
        "/lenient" => {
            deadlines.set_min_read_rate(None);
            deadlines.set_read_stall(s(300));
            collect(request).await
        }
        "/strict" => {
            deadlines.set_min_read_rate(MinRate::new(1_000));
            collect(request).await
        }
        _ => collect(request).await,
    }
}

async fn collect(request: Request<RequestBody>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => reply(200, format!("{} bytes", body.to_bytes().len())),
        Err(error) if error.is_timeout() => reply(408, "too slow"),
        Err(_) => reply(400, "broken"),
    }
}

/// Returns a client's end of a connection that holds `buffer` bytes, and how the server ends it.
fn connect(
    timeouts: Timeouts,
    buffer: usize,
) -> (DuplexStream, JoinHandle<(CloseReason, Instant)>) {
    let (client, io) = tokio::io::duplex(buffer);
    let connection = serve_connection_with_timeouts(io, app(answer), timeouts).unwrap();
    let ended = tokio::spawn(async move { (connection.await, Instant::now()) });
    (client, ended)
}

const KIB: usize = 1024;

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

/// Reads everything until the end.
async fn rest(client: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(s(3600), client.read_to_end(&mut bytes)).await;
    read.expect("it ends").expect("as it should");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `bytes` `count` times with pauses; stops when the server has closed.
async fn send_slowly(client: &mut DuplexStream, bytes: &[u8], count: usize, pause: Duration) {
    for _ in 0..count {
        if client.write_all(bytes).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// Asserts that it took the deadline, and not a second longer.
#[track_caller]
fn assert_within(took: Duration, deadline: Duration) {
    assert!(
        took >= deadline && took <= deadline + s(1),
        "after {took:?}, where {deadline:?} is the deadline"
    );
}

// === settings ===

#[test]
fn go_preset_has_four_totals_and_the_defaults_none() {
    let go = Timeouts::none()
        .read_header(s(5))
        .read(s(15))
        .write(s(30))
        .idle(s(120));
    assert_eq!(Timeouts::go(), go);
    let default = Timeouts::none()
        .read_header(s(5))
        .response_head(s(60))
        .idle(s(120))
        .read_stall(s(30))
        .write_stall(s(30))
        .min_read_rate(MinRate::new(240).window(s(10)).grace(s(5)))
        .min_write_rate(MinRate::new(240));
    assert_eq!(Timeouts::default(), default);
    for timeouts in [Timeouts::none(), Timeouts::go(), Timeouts::default()] {
        assert_eq!(timeouts.check(), Ok(()));
    }
}

#[test]
fn invalid_rates_are_refused_by_name() {
    let week = s(7 * 24 * 3600);
    let wrong = [
        MinRate::new(0),
        MinRate::new(u64::MAX),
        MinRate::new(240).window(Duration::ZERO),
        MinRate::new(240).window(week + s(1)),
        MinRate::new(240).grace(Duration::MAX),
    ];
    for rate in wrong {
        let read = Timeouts::none().min_read_rate(rate).check().unwrap_err();
        assert_eq!(read.name(), "min_read_rate");
        assert!(read.to_string().contains("`min_read_rate`"), "{read}");
        let write = Timeouts::none().min_write_rate(rate).check().unwrap_err();
        assert_eq!(write.name(), "min_write_rate");
    }
    for rate in [
        MinRate::new(1).grace(Duration::ZERO),
        MinRate::new(240).window(week),
    ] {
        assert_eq!(Timeouts::none().min_write_rate(rate).check(), Ok(()));
    }
    let head = Timeouts::none().response_head(Duration::ZERO).check();
    assert_eq!(head.unwrap_err().name(), "response_head");
}

/// Reads `bytes` and pauses, until the connection ends or `count` times.
async fn read_slowly(client: &mut DuplexStream, bytes: usize, pause: Duration, count: usize) {
    let mut buffer = vec![0; bytes];
    for _ in 0..count {
        if client.read_exact(&mut buffer).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}
