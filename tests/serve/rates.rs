//! Stalls, minimum rates and the deadline of the response's head: slow peers are cut within their deadline, moving ones
//! are served. Runs on tokio's paused clock, over streams in memory.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lameduck::events::{CloseReason, TimeoutKind};
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::{MinRate, Timeouts, serve_connection_with_timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::wire::{END_HEADERS, END_STREAM};
use crate::support::{Body, Frame, app, channel, frames, kind, reply};

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

// === request bodies ===

#[tokio::test(start_paused = true)]
async fn upload_of_a_byte_each_9_s_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client.write_all(post("/", 100).as_bytes()).await.unwrap();
    let began = Instant::now();
    send_slowly(&mut client, b"x", 3, s(9)).await;
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.ends_with("too slow"), "{text}");
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    // The answer lingers for half a second.
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn upload_of_300_bytes_a_second_is_served() {
    let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/", 36_000).as_bytes())
        .await
        .unwrap();
    send_slowly(&mut client, &[b'x'; 300], 120, s(1)).await;
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn minimum_rate_is_exact_to_a_byte_a_second() {
    for (rate, lives) in [(241, true), (239, false)] {
        let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
        client
            .write_all(post("/", rate * 60).as_bytes())
            .await
            .unwrap();
        send_slowly(&mut client, &vec![b'x'; rate], 60, s(1)).await;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        let status = if lives {
            b"HTTP/1.1 200"
        } else {
            b"HTTP/1.1 408"
        };
        assert_eq!(&answer, status, "{rate} B/s");
        drop(client);
        ended.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn fast_start_buys_no_slow_rest() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/", 2 << 20).as_bytes())
        .await
        .unwrap();
    client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    let began = Instant::now();
    send_slowly(&mut client, b"x", 5, s(9)).await;
    rest(&mut client).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn pause_counts_as_stall_not_as_rate() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client.write_all(post("/", 6_000).as_bytes()).await.unwrap();
    // As through a tunnel: nothing for 29 s, and then everything due.
    for _ in 0..2 {
        sleep(s(29)).await;
        client.write_all(&[b'x'; 2_999]).await.unwrap();
    }
    let began = Instant::now();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408"));
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::ReadStall));
    assert_within(at - began, s(30));

    // Without a stall the rate counts silence too.
    let timeouts = Timeouts::none().min_read_rate(MinRate::new(240));
    let (mut client, ended) = connect(timeouts, 64 * KIB);
    client.write_all(post("/", 6_000).as_bytes()).await.unwrap();
    let began = Instant::now();
    rest(&mut client).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinReadRate));
    assert_within(at - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn slow_handler_is_not_charged_to_the_client() {
    let (mut client, _ended) = connect(Timeouts::default(), 4 * KIB);
    client
        .write_all(post("/pausing", 64 * KIB).as_bytes())
        .await
        .unwrap();
    client.write_all(&[b'x'; 64 * KIB]).await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn clock_of_a_waiting_client_begins_with_100_continue() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let began = Instant::now();
    send_slowly(&mut client, b"x", 2, s(9)).await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408"));
    assert_within(ended.await.unwrap().1 - began, SLOW_BODY);
}

#[tokio::test(start_paused = true)]
async fn stopped_runtime_cuts_no_one() {
    let timeouts = Timeouts::none().min_read_rate(MinRate::new(240));
    let (mut client, _ended) = connect(timeouts, 64 * KIB);
    client
        .write_all(post("/", 24_000).as_bytes())
        .await
        .unwrap();
    sleep(s(6)).await;
    // The process stops for a minute; the client's bytes arrive right after.
    tokio::time::advance(s(60)).await;
    sleep(s(1)).await;
    for _ in 0..8 {
        client.write_all(&[b'x'; 3_000]).await.unwrap();
        sleep(s(10)).await;
    }
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn unread_body_has_the_same_deadlines() {
    for (drip, why) in [(0, TimeoutKind::ReadStall), (4, TimeoutKind::MinReadRate)] {
        let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
        client
            .write_all(post("/leave", 1_000).as_bytes())
            .await
            .unwrap();
        let began = Instant::now();
        send_slowly(&mut client, b"x", drip, s(9)).await;
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"));
        let (ended, at) = ended.await.unwrap();
        assert_eq!(ended, CloseReason::Timeout(why));
        assert!(at - began <= s(31), "{:?}", at - began);
    }
}

#[tokio::test(start_paused = true)]
async fn handler_moves_its_own_rates() {
    let drip = async |path: &str, bytes: &[u8], count| {
        let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
        let head = post(path, bytes.len() * count);
        client.write_all(head.as_bytes()).await.unwrap();
        send_slowly(&mut client, bytes, count, s(9)).await;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    assert_eq!(drip("/", b"x", 20).await, "408");
    assert_eq!(drip("/lenient", b"x", 20).await, "200");
    // 500 B/s.
    assert_eq!(drip("/", &[b'x'; 4_500], 20).await, "200");
    assert_eq!(drip("/strict", &[b'x'; 4_500], 20).await, "408");
}

// === responses ===

const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

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

#[tokio::test(start_paused = true)]
async fn reader_of_a_byte_each_9_s_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    let began = Instant::now();
    read_slowly(&mut client, 1, s(9), 20).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinWriteRate));
    assert_within(at - began, SLOW_READER);
}

#[tokio::test(start_paused = true)]
async fn stopped_reader_is_cut_at_the_stall() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    let began = Instant::now();
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::WriteStall));
    assert_within(at - began, s(30));
}

#[tokio::test(start_paused = true)]
async fn download_that_slows_to_a_trickle_is_too_slow() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    // 20 kB/s for 40 s.
    read_slowly(&mut client, 20_000, s(1), 40).await;
    let began = Instant::now();
    read_slowly(&mut client, 1, s(9), 20).await;
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinWriteRate));
    // The expected time is the rest of the window that was met, and one that was not.
    assert!(at - began <= s(21), "{:?}", at - began);
}

#[tokio::test(start_paused = true)]
async fn download_of_300_bytes_a_second_is_served() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client.write_all(GET_LARGE).await.unwrap();
    read_slowly(&mut client, 300, s(1), 120).await;
    assert!(!ended.is_finished());
    let text = rest(&mut client).await;
    assert_eq!(text.len() + 120 * 300, (1 << 20) + head_length(&text));
    assert_eq!(ended.await.unwrap().0, CloseReason::Ended);
}

/// Returns the bytes beyond the body; the head has been read by then.
fn head_length(_rest: &str) -> usize {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n";
    HEAD.len() + "date: Thu, 26 Nov 2026 17:15:15 GMT\r\n".len()
}

#[tokio::test(start_paused = true)]
async fn silence_between_events_is_not_charged_to_the_reader() {
    let (mut client, ended) = connect(Timeouts::default(), KIB);
    client
        .write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    let until = Instant::now() + s(130);
    while let Ok(read) = tokio::time::timeout_at(until, client.read_buf(&mut text)).await {
        assert!(read.unwrap() > 0, "it was cut");
    }
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches("data: x").count(), 7, "{text}");
    assert!(!ended.is_finished());
}

// === the response's head ===

async fn ask(path: &str) -> (String, Duration) {
    let (mut client, _ended) = connect(Timeouts::default(), 64 * KIB);
    let began = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    let status = String::from_utf8_lossy(&answer[9..]).into_owned();
    (status, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn handler_that_does_not_begin_its_answer_is_cancelled() {
    let (status, took) = ask("/hang").await;
    assert_eq!(status, "503");
    assert_within(took, s(60));
    for path in ["/long-poll", "/patient"] {
        let (status, took) = ask(path).await;
        assert_eq!(status, "200", "{path}");
        assert_within(took, s(90));
    }
}

#[tokio::test(start_paused = true)]
async fn moving_upload_does_not_spend_the_handlers_time() {
    let (mut client, ended) = connect(Timeouts::default(), 64 * KIB);
    client
        .write_all(post("/then-hang", 100 * KIB).as_bytes())
        .await
        .unwrap();
    send_slowly(&mut client, &[b'x'; KIB], 100, s(1)).await;
    let began = Instant::now();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 503"));
    let (why, at) = ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::ResponseHead));
    // The last second of the upload was a pause.
    assert_within(at - began, s(59));
}

#[tokio::test(start_paused = true)]
async fn handler_that_reads_for_a_long_time_is_not_late() {
    // Each read takes 5 s: the client is never waited for, and the whole takes more than a minute.
    let (mut client, _ended) = connect(Timeouts::default(), 512);
    client
        .write_all(post("/pausing", 8 * KIB).as_bytes())
        .await
        .unwrap();
    client.write_all(&[b'x'; 8 * KIB]).await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

// === HTTP/2 ===

/// A client that records every frame, acknowledges as required and opens no window by itself.
struct H2 {
    io: DuplexStream,
    bytes: Vec<u8>,
    seen: usize,
    ended: JoinHandle<(CloseReason, Instant)>,
}

impl H2 {
    /// Connects with this window for each stream.
    async fn connect(timeouts: Timeouts, buffer: usize, window: u32) -> H2 {
        let (mut io, ended) = connect(timeouts, buffer);
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        let mut h2 = H2 {
            io,
            bytes: Vec::new(),
            seen: 0,
            ended,
        };
        h2.send(kind::SETTINGS, 0, 0, settings).await;
        // The connection's own window is of no interest here.
        h2.send(kind::WINDOW_UPDATE, 0, 0, 0x3fff_0000u32.to_be_bytes())
            .await;
        h2
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        let frame = Frame::new(kind, flags, stream, payload).bytes();
        // The connection may have ended: earlier frames say why.
        let _ = self.io.write_all(&frame).await;
    }

    async fn request(&mut self, stream: u32, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut block = vec![0x86];
        let get = method == "GET";
        block.push(if get { 0x82 } else { 0x83 });
        for (index, value) in [(1, "a"), (4, path)] {
            block.extend([index, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        for (name, value) in headers {
            for text in [name, value] {
                if text == name {
                    block.push(0);
                }
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        let flags = END_HEADERS | if get { END_STREAM } else { 0 };
        self.send(kind::HEADERS, flags, stream, block).await;
    }

    async fn open(&mut self, stream: u32, bytes: u32) {
        self.send(kind::WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
            .await;
    }

    /// Reads until the time `until`, or the end.
    async fn read_until(&mut self, until: Instant) {
        while let Ok(read) = tokio::time::timeout_at(until, self.io.read_buf(&mut self.bytes)).await
        {
            if !matches!(read, Ok(1..)) {
                return;
            }
            self.acknowledge().await;
        }
    }

    /// Acknowledges the frames that require it.
    async fn acknowledge(&mut self) {
        let all = frames(&self.bytes);
        let new = &all[self.seen..];
        self.seen = all.len();
        for frame in new.iter().filter(|frame| frame.flags & 1 == 0) {
            match frame.kind {
                kind::PING => self.send(kind::PING, 1, 0, frame.payload.clone()).await,
                kind::SETTINGS => self.send(kind::SETTINGS, 1, 0, []).await,
                _ => {}
            }
        }
    }

    async fn read_for(&mut self, wait: Duration) {
        self.read_until(Instant::now() + wait).await;
    }

    /// Reads until that frame arrives, and returns how long it took.
    async fn until(&mut self, kind: u8, stream: u32) -> Duration {
        let began = Instant::now();
        while !self.has(kind, stream) {
            assert!(
                began.elapsed() < s(3600) && !self.ended.is_finished(),
                "no frame {kind}"
            );
            self.read_for(Duration::from_millis(100)).await;
        }
        began.elapsed()
    }

    fn of(&self, kind: u8, stream: u32) -> impl Iterator<Item = Frame> {
        let of = move |frame: &Frame| (frame.kind, frame.stream) == (kind, stream);
        frames(&self.bytes).into_iter().filter(of)
    }

    fn has(&self, kind: u8, stream: u32) -> bool {
        self.of(kind, stream).next().is_some()
    }

    /// Returns the number of response bytes received.
    fn came(&self, stream: u32) -> usize {
        self.of(kind::DATA, stream)
            .map(|frame| frame.payload.len())
            .sum()
    }

    fn is_whole(&self, stream: u32) -> bool {
        self.of(kind::DATA, stream)
            .any(|frame| frame.flags & END_STREAM != 0)
    }

    /// Returns the status, if it is in the static table.
    fn status(&self, stream: u32) -> Option<u16> {
        let head = self.of(kind::HEADERS, stream).next()?;
        match head.payload.first()? {
            0x88 => Some(200),
            // `:status` with a literal value, as text or in Huffman's code.
            _ if find(&head.payload, b"503") || find(&head.payload, &[0x6c, 0x0c]) => Some(503),
            _ if find(&head.payload, b"408") || find(&head.payload, &[0x68, 0x0f]) => Some(408),
            _ => None,
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[tokio::test(start_paused = true)]
async fn http2_stream_of_a_byte_each_9_s_is_reset_alone() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 1).await;
    h2.request(1, "GET", "/large", &[]).await;
    h2.request(3, "GET", "/events", &[]).await;
    h2.open(3, 1_000_000).await;
    let began = Instant::now();
    while !h2.has(kind::RST_STREAM, 1) && began.elapsed() < s(60) {
        h2.open(1, 1).await;
        let next = Instant::now() + s(9);
        while Instant::now() < next && !h2.has(kind::RST_STREAM, 1) {
            h2.read_for(Duration::from_millis(250)).await;
        }
    }
    assert_within(began.elapsed(), SLOW_READER);
    assert!(h2.came(1) < 10);
    h2.read_for(s(60)).await;
    assert!(!h2.ended.is_finished() && !h2.has(kind::RST_STREAM, 3));
    assert!(h2.came(3) > 30, "an event each 20 s: {}", h2.came(3));
}

#[tokio::test(start_paused = true)]
async fn http2_closed_window_stalls_alone() {
    let timeouts = Timeouts::none().write_stall(s(30));
    for path in ["/large", "/events"] {
        let mut h2 = H2::connect(timeouts, 64 * KIB, 0).await;
        h2.request(1, "GET", path, &[]).await;
        // Another stream moves on all the time: 100 kB/s.
        h2.request(3, "GET", "/large", &[]).await;
        let began = Instant::now();
        while !h2.has(kind::RST_STREAM, 1) && began.elapsed() < s(60) {
            h2.open(3, 20_000).await;
            h2.read_for(Duration::from_millis(200)).await;
        }
        assert_within(began.elapsed(), s(30));
        assert_eq!(h2.came(1), 0);
        h2.open(3, 1 << 20).await;
        h2.read_for(s(1)).await;
        assert_eq!(h2.came(3), 1 << 20);
        assert!(h2.is_whole(3));
    }
}

#[tokio::test(start_paused = true)]
async fn http2_end_of_a_response_stalls_like_its_middle() {
    // All but the last 100 bytes fit the window; they are part of the last piece.
    let fits = (1 << 20) - 100;
    let mut h2 = H2::connect(Timeouts::none().write_stall(s(30)), 2 << 20, fits).await;
    h2.request(1, "GET", "/large", &[]).await;
    h2.request(3, "GET", "/events", &[]).await;
    let took = h2.until(kind::RST_STREAM, 1).await;
    assert_within(took, s(30));
    assert_eq!(h2.came(1), fits as usize);
    assert!(!h2.is_whole(1));
    h2.read_for(s(60)).await;
    assert!(!h2.ended.is_finished() && !h2.has(kind::RST_STREAM, 3));
}

#[tokio::test(start_paused = true)]
async fn http2_unread_short_answer_closes_the_connection() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 3).await;
    h2.request(1, "GET", "/", &[]).await;
    let began = Instant::now();
    h2.read_for(s(100)).await;
    let (why, at) = h2.ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::WriteStall));
    assert_within(at - began, s(30));
}

#[tokio::test(start_paused = true)]
async fn http2_300_bytes_a_second_are_served_in_both_directions() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 300).await;
    h2.request(1, "GET", "/large", &[]).await;
    h2.request(3, "POST", "/", &[]).await;
    for _ in 0..120 {
        h2.open(1, 300).await;
        h2.send(kind::DATA, 0, 3, [b'x'; 300]).await;
        h2.read_for(s(1)).await;
    }
    h2.send(kind::DATA, END_STREAM, 3, []).await;
    h2.read_for(s(1)).await;
    assert_eq!(h2.came(1), 121 * 300);
    assert_eq!(h2.status(3), Some(200));
    assert!(!h2.has(kind::RST_STREAM, 1) && !h2.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn http2_upload_of_a_byte_each_9_s_is_too_slow_beside_a_fast_one() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 65_535).await;
    h2.request(1, "POST", "/", &[]).await;
    h2.request(3, "POST", "/", &[]).await;
    let began = Instant::now();
    let mut tick = 0;
    while !h2.has(kind::HEADERS, 1) && began.elapsed() < s(60) {
        if tick % 9 == 0 {
            h2.send(kind::DATA, 0, 1, *b"x").await;
        }
        tick += 1;
        h2.send(kind::DATA, 0, 3, [b'x'; 300]).await;
        h2.read_for(s(1)).await;
    }
    assert_within(began.elapsed(), SLOW_BODY);
    assert_eq!(h2.status(1), Some(408));
    h2.send(kind::DATA, END_STREAM, 3, *b"end").await;
    h2.read_for(s(1)).await;
    assert_eq!(h2.status(3), Some(200));
}

#[tokio::test(start_paused = true)]
async fn http2_streams_waiting_on_a_slow_connection_are_served() {
    // 30 downloads over 4 kB/s, as over a poor radio link: a round of frames takes two minutes.
    let mut h2 = H2::connect(Timeouts::default(), KIB, 1 << 20).await;
    for stream in 0..30 {
        h2.request(1 + 2 * stream, "GET", "/large", &[]).await;
    }
    let mut buffer = [0; 400];
    for _ in 0..3_000 {
        h2.io.read_exact(&mut buffer).await.unwrap();
        h2.bytes.extend(buffer);
        h2.acknowledge().await;
        sleep(Duration::from_millis(100)).await;
    }
    let reset = (0..30).filter(|stream| h2.has(kind::RST_STREAM, 1 + 2 * stream));
    assert_eq!(reset.count(), 0);
    assert!(!h2.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn http2_trickling_connection_is_too_slow() {
    let mut h2 = H2::connect(Timeouts::default(), KIB, 1 << 20).await;
    h2.request(1, "GET", "/large", &[]).await;
    let began = Instant::now();
    read_slowly(&mut h2.io, 1, s(9), 20).await;
    let (why, at) = h2.ended.await.unwrap();
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::MinWriteRate));
    assert_within(at - began, SLOW_READER);
}

#[tokio::test(start_paused = true)]
async fn http2_handler_that_does_not_begin_its_answer_gets_503() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 65_535).await;
    h2.request(1, "GET", "/hang", &[]).await;
    h2.request(3, "GET", "/long-poll", &[]).await;
    let took = h2.until(kind::HEADERS, 1).await;
    assert_within(took, s(60));
    assert_eq!(h2.status(1), Some(503));
    h2.read_for(s(1)).await;
    assert!(h2.is_whole(1) && !h2.has(kind::RST_STREAM, 1));
    h2.until(kind::HEADERS, 3).await;
    assert_eq!(h2.status(3), Some(200));
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

#[tokio::test(start_paused = true)]
async fn grpc_client_may_pause_between_messages_but_not_within_one() {
    let timeouts = Timeouts::default().response_head(None);
    let mut h2 = H2::connect(timeouts, 64 * KIB, 65_535).await;
    h2.request(1, "POST", "/", GRPC).await;
    for _ in 0..3 {
        h2.read_for(s(100)).await;
        h2.send(kind::DATA, 0, 1, [0, 0, 0, 0, 2, 7, 7]).await;
    }
    h2.read_for(s(100)).await;
    assert!(!h2.has(kind::HEADERS, 1) && !h2.has(kind::RST_STREAM, 1));
    h2.send(kind::DATA, 0, 1, [0, 0, 0, 0, 2, 7]).await;
    let took = h2.until(kind::HEADERS, 1).await;
    assert_within(took, s(30));
}

#[tokio::test(start_paused = true)]
async fn unanswered_grpc_call_exceeds_its_deadline() {
    let mut h2 = H2::connect(Timeouts::default(), 64 * KIB, 65_535).await;
    h2.request(1, "POST", "/hang", GRPC).await;
    h2.send(kind::DATA, END_STREAM, 1, [0, 0, 0, 0, 0]).await;
    let took = h2.until(kind::HEADERS, 1).await;
    assert_within(took, s(60));
    let head = h2.of(kind::HEADERS, 1).next().unwrap();
    assert_eq!(h2.status(1), Some(200));
    assert!(head.flags & END_STREAM != 0, "Trailers-Only");
}
