//! Closing HTTP/2 connections. Slow readers get their answers whole; floods and silent clients delay nothing.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use lameduck::serve::{Connections, RequestBody};
use lameduck::{ConnInfo, Limits, Phase, Report, Shutdown, Timeouts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::support::wire::{ACK, END_HEADERS, END_STREAM, PREFACE};
use crate::support::{
    App, Frame, How, LIMIT, Raw, Setup, app, frames, full, kind, ms, reply, within,
};

const INITIAL_WINDOW_SIZE: u8 = 4;

fn head(method: u8, stream: u32, path: &str, flags: u8) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    Frame::new(kind::HEADERS, END_HEADERS | flags, stream, block).bytes()
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    head(0x82, stream, path, END_STREAM)
}

/// Encodes the preface and settings with this window for streams and for the connection.
fn hello(window: u32) -> Vec<u8> {
    let mut settings = vec![0, INITIAL_WINDOW_SIZE];
    settings.extend(window.to_be_bytes());
    let mut hello = PREFACE.to_vec();
    hello.extend(Frame::new(kind::SETTINGS, 0, 0, settings).bytes());
    if let Some(more) = window.checked_sub(65_535).filter(|more| *more > 0) {
        hello.extend(Frame::new(kind::WINDOW_UPDATE, 0, 0, more.to_be_bytes()).bytes());
    }
    hello
}

/// Builds a service with answers of `size` bytes.
fn long(size: usize) -> App {
    noted(size).0
}

/// Builds the same service, and what is notified of each request that has come to it.
fn noted(size: usize) -> (App, Arc<Notify>) {
    let came = Arc::new(Notify::new());
    let notify = came.clone();
    let app = app(move |_: Request<RequestBody>| {
        notify.notify_one();
        async move { Response::new(full(vec![7_u8; size])) }
    });
    (app, came)
}

// === a reader that takes its time ===

/// A client that reads 4 KiB at a time, with pauses, and keeps to the rules meanwhile.
struct SlowReader {
    stream: TcpStream,
    pause: Duration,
    /// The number of bytes after which it returns window.
    updates: Option<usize>,
    /// It answers no PING and acknowledges no settings.
    rude: bool,
}

/// The answer as the reader got it.
#[derive(Debug)]
struct Got {
    data: usize,
    whole: bool,
    how: String,
}

impl SlowReader {
    async fn connect(addr: SocketAddr) -> SlowReader {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = within(LIMIT, "a connection", socket.connect(addr)).await;
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        SlowReader {
            stream,
            pause: ms(4),
            updates: Some(16 * 1024),
            rude: false,
        }
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The reads notice a server that has closed.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads to the end of the answer on stream 1, or of the connection.
    async fn read(&mut self) -> Got {
        let mut got = Got {
            data: 0,
            whole: false,
            how: String::new(),
        };
        let (mut buffer, mut owed) = (Vec::new(), 0);
        while !got.whole {
            let mut chunk = [0; 4096];
            let read = tokio::time::timeout(ms(4_000), self.stream.read(&mut chunk)).await;
            match read {
                Err(_) => got.how = "silence".to_owned(),
                Ok(Ok(0)) => got.how = "FIN".to_owned(),
                Ok(Err(error)) => got.how = error.to_string(),
                Ok(Ok(length)) => buffer.extend_from_slice(&chunk[..length]),
            }
            if !got.how.is_empty() {
                return got;
            }
            let whole = frames(&buffer);
            let taken: usize = whole.iter().map(|frame| 9 + frame.payload.len()).sum();
            buffer.drain(..taken);
            for frame in whole {
                match (frame.kind, frame.flags & ACK) {
                    (kind::DATA, end) => {
                        got.data += frame.payload.len();
                        owed += frame.payload.len();
                        got.whole |= end == END_STREAM;
                    }
                    (kind::SETTINGS, 0) if !self.rude => {
                        self.say(Frame::new(kind::SETTINGS, ACK, 0, []).bytes())
                            .await;
                    }
                    (kind::PING, 0) if !self.rude => {
                        self.say(Frame::new(kind::PING, ACK, 0, frame.payload).bytes())
                            .await;
                    }
                    _ => {}
                }
            }
            if self.updates.is_some_and(|most| owed >= most) {
                let window = u32::try_from(owed).unwrap().to_be_bytes();
                for stream in [0, 1] {
                    self.say(Frame::new(kind::WINDOW_UPDATE, 0, stream, window).bytes())
                        .await;
                }
                owed = 0;
            }
            tokio::time::sleep(self.pause).await;
        }
        got
    }
}

/// Begins a drain while the answer of `size` bytes is on its way to a slow reader.
async fn drained(size: usize, window: u32, change: impl FnOnce(&mut SlowReader)) -> (Got, Report) {
    let setup = Setup::new().timeouts(Timeouts::default()).drain(ms(8_000));
    let (app, came) = noted(size);
    let mut server = setup.start(app).await;
    let mut reader = SlowReader::connect(server.addr).await;
    change(&mut reader);
    reader.say([hello(window), get(1, "/")].concat()).await;
    within(LIMIT, "a request", came.notified()).await;
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;
    let got = reader.read().await;
    drop(reader);
    (got, server.report().await)
}

fn assert_whole(size: usize, (got, report): &(Got, Report)) {
    assert!(got.whole && got.data == size, "{got:?}; {report}");
    assert!(report.is_clean(), "{report}");
}

const SIZE: usize = 400 * 1024;
const WIDE: u32 = 16 << 20;

#[tokio::test]
async fn slow_reader_that_updates_its_window_gets_its_answer_whole_in_a_drain() {
    assert_whole(SIZE, &drained(SIZE, WIDE, |_| {}).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reader_gets_its_answer_whole_from_several_threads() {
    assert_whole(SIZE, &drained(SIZE, WIDE, |_| {}).await);
}

#[tokio::test]
async fn slow_reader_that_sends_nothing_more_gets_its_answer_whole_in_a_drain() {
    let silent = |reader: &mut SlowReader| reader.updates = None;
    assert_whole(SIZE, &drained(SIZE, WIDE, silent).await);
}

#[tokio::test]
async fn slow_reader_with_small_windows_gets_a_mebibyte_whole_in_a_drain() {
    const SIZE: usize = 1 << 20;
    let often = |reader: &mut SlowReader| reader.updates = Some(8 * 1024);
    assert_whole(SIZE, &drained(SIZE, 16 * 1024, often).await);
}

#[tokio::test]
async fn slow_reader_that_acknowledges_nothing_gets_its_answer_whole_in_a_drain() {
    let rude = |reader: &mut SlowReader| reader.rude = true;
    assert_whole(SIZE, &drained(SIZE, WIDE, rude).await);
}

#[tokio::test]
async fn slow_reader_that_needs_seconds_gets_its_answer_whole_in_a_drain() {
    // Half a second passes between two WINDOW_UPDATEs, and the whole exceeds the wait for the GOAWAY.
    let slow = |reader: &mut SlowReader| {
        reader.pause = ms(30);
        reader.updates = Some(64 * 1024);
    };
    assert_whole(SIZE, &drained(SIZE, WIDE, slow).await);
}

/// As much as the kernel takes at once, and more than the client's.
const SHORT: usize = 96 * 1024;

/// A reader that stops for a while when it has read so much.
async fn read_with_a_pause(mut reader: SlowReader, after: usize, pause: Duration) -> Got {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
    let whole_until = |buffer: &[u8]| -> usize {
        let data = frames(buffer)
            .into_iter()
            .filter(|it| it.kind == kind::DATA);
        data.map(|frame| frame.payload.len()).sum()
    };
    while buffer.len() < after {
        match within(LIMIT, "bytes", reader.stream.read(&mut chunk)).await {
            Ok(length) if length > 0 => buffer.extend_from_slice(&chunk[..length]),
            end => panic!("{end:?} after {}", buffer.len()),
        }
    }
    tokio::time::sleep(pause).await;
    // It is still there, and says so as any client that has read does.
    let window = 1_000_u32.to_be_bytes();
    reader
        .say(Frame::new(kind::WINDOW_UPDATE, 0, 0, window).bytes())
        .await;
    let how = loop {
        match within(LIMIT, "bytes", reader.stream.read(&mut chunk)).await {
            Ok(0) => break "FIN".to_owned(),
            Ok(length) => buffer.extend_from_slice(&chunk[..length]),
            Err(error) => break error.to_string(),
        }
    };
    let all = frames(&buffer);
    let ended = |frame: &Frame| frame.kind == kind::DATA && frame.flags & END_STREAM > 0;
    Got {
        data: whole_until(&buffer),
        whole: all.iter().any(ended),
        how,
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn reader_that_is_silent_for_seconds_gets_its_answer_whole_in_a_drain() {
    let setup = Setup::new().timeouts(Timeouts::default()).drain(ms(15_000));
    let (app, came) = noted(SHORT);
    let mut server = setup.start(app).await;
    let mut reader = SlowReader::connect(server.addr).await;
    reader.say([hello(WIDE), get(1, "/")].concat()).await;
    within(LIMIT, "a request", came.notified()).await;
    server.handle.drain_now();
    let got = read_with_a_pause(reader, 8 * 1024, ms(4_500)).await;
    let report = server.report().await;
    assert!(got.whole && got.data == SHORT, "{got:?}; {report}");
    assert!(report.is_clean(), "{report}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn answer_that_a_client_leaves_with_the_kernel_has_the_deadline_of_a_response() {
    let timeouts = Timeouts::none().idle(ms(100)).write_stall(ms(2_500));
    let server = Setup::new().timeouts(timeouts).start(long(SHORT)).await;
    let mut reader = SlowReader::connect(server.addr).await;
    reader.say([hello(WIDE), get(1, "/")].concat()).await;
    let since = std::time::Instant::now();
    server.until_open(1).await;
    server.until_open(0).await;
    let took = since.elapsed();
    assert!(took > ms(3_000) && took < ms(20_000), "{took:?}");
    drop(reader);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn answer_that_the_kernel_holds_at_the_end_of_a_drain_is_named() {
    let setup = Setup::new().timeouts(Timeouts::default()).drain(ms(4_000));
    let (app, came) = noted(SHORT);
    let mut server = setup.start(app).await;
    let mut reader = SlowReader::connect(server.addr).await;
    reader.say([hello(WIDE), get(1, "/left")].concat()).await;
    within(LIMIT, "a request", came.notified()).await;
    let report = server.drain().await;
    assert!(!report.is_clean() && report.cut.len() == 1, "{report}");
    assert_eq!(report.cut[0].path, "/left", "{report}");
    drop(reader);
}

#[tokio::test]
async fn client_that_takes_nothing_is_reset() {
    let timeouts = Timeouts::none().write_stall(ms(500));
    let server = Setup::new().timeouts(timeouts).start(long(8 << 20)).await;
    let mut reader = SlowReader::connect(server.addr).await;
    reader.say([hello(WIDE), get(1, "/")].concat()).await;
    server.until_open(1).await;
    server.until_open(0).await;
    // Nothing of it is left with the kernel for a client that may never come for it.
    (reader.updates, reader.rude, reader.pause) = (None, true, Duration::ZERO);
    let got = reader.read().await;
    assert!(got.how.contains("reset"), "{got:?}");
}

#[tokio::test]
async fn slow_reader_gets_its_answer_whole_at_the_idle_deadline() {
    let timeouts = Timeouts::none().idle(ms(100));
    let server = Setup::new().timeouts(timeouts).start(long(SIZE)).await;
    let mut reader = SlowReader::connect(server.addr).await;
    // The answer takes longer than the deadline and the time for the GOAWAY.
    reader.pause = ms(30);
    reader.say([hello(WIDE), get(1, "/")].concat()).await;
    let got = reader.read().await;
    assert!(got.whole && got.data == SIZE, "{got:?}");
    drop(reader);
    server.until_open(0).await;
}

#[tokio::test]
async fn slow_reader_that_sends_goaway_gets_its_answer_whole() {
    let server = Setup::new().start(long(SIZE)).await;
    let mut reader = SlowReader::connect(server.addr).await;
    let goaway = Frame::new(kind::GOAWAY, 0, 0, [0; 8]).bytes();
    reader
        .say([hello(WIDE), get(1, "/"), goaway].concat())
        .await;
    let got = reader.read().await;
    assert!(got.whole && got.data == SIZE, "{got:?}");
    drop(reader);
    server.until_open(0).await;
}

#[tokio::test]
async fn early_answer_to_an_upload_is_whole_in_a_drain() {
    let setup = Setup::new().timeouts(Timeouts::default()).drain(ms(8_000));
    let (app, came) = noted(SIZE);
    let mut server = setup.start(app).await;
    let mut reader = SlowReader::connect(server.addr).await;
    let upload = head(0x83, 1, "/upload", 0);
    let data = Frame::new(kind::DATA, 0, 1, vec![1; 16_000]).bytes();
    reader
        .say([hello(WIDE), upload, data.clone(), data].concat())
        .await;
    within(LIMIT, "a request", came.notified()).await;
    server.handle.drain_now();
    let got = reader.read().await;
    assert!(got.whole && got.data == SIZE, "{got:?}");
    drop(reader);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

/// Serves each connection over a transport of its own kind.
async fn served_over<T, F>(wrap: F, window: u32) -> (Got, Report)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(TcpStream) -> T,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let connections = Connections::new(Timeouts::default(), Limits::default()).unwrap();
    let connections = connections.follow(&handle);
    let report = tokio::spawn(shutdown.run());
    let mut reader = SlowReader::connect(addr).await;
    reader.pause = ms(30);
    reader.say([hello(window), get(1, "/")].concat()).await;
    let (stream, _) = within(LIMIT, "a connection", listener.accept())
        .await
        .unwrap();
    let (app, came) = noted(SIZE);
    let connection = connections.serve(wrap(stream), ConnInfo::default(), app);
    tokio::spawn(connection);
    within(LIMIT, "a request", came.notified()).await;
    handle.drain_now();
    let got = reader.read().await;
    drop(reader);
    let report = within(LIMIT, "the report", report).await.unwrap().unwrap();
    (got, report)
}

#[tokio::test]
async fn slow_reader_gets_its_answer_whole_over_a_transport_that_buffers() {
    let buffered = |stream| BufStream::with_capacity(8 * 1024, 32 * 1024, stream);
    assert_whole(SIZE, &served_over(buffered, WIDE).await);
}

// === floods and silence ===

/// Encodes the PING of a flood.
fn ping() -> Vec<u8> {
    Frame::new(kind::PING, 0, 0, *b"flooding").bytes()
}

fn settings() -> Vec<u8> {
    Frame::new(kind::SETTINGS, 0, 0, []).bytes()
}

/// Sends `frame` endlessly and reads nothing, or all, until the connection is gone.
async fn flood(mut stream: TcpStream, frame: Vec<u8>, reads: bool) -> io::Result<()> {
    let many = frame.repeat(64);
    let mut scrap = vec![0; 64 * 1024];
    loop {
        stream.write_all(&many).await?;
        if reads {
            let read = tokio::time::timeout(ms(1), stream.read(&mut scrap)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return Ok(());
            }
        }
    }
}

#[tokio::test]
async fn flood_without_a_stream_does_not_hold_a_drain() {
    for (frame, reads, asks) in [
        (ping(), false, false),
        (ping(), true, false),
        (settings(), false, false),
        (ping(), false, true),
        (ping(), true, true),
    ] {
        let app = app(|_| async { reply(200, "hello") });
        let mut server = Setup::new().drain(ms(6_000)).start(app).await;
        let mut client = Raw::connect(server.addr).await;
        client.send(hello(65_535)).await;
        if asks {
            client.send(get(1, "/good")).await;
            while !has(
                &frames(&client.read_until_close_for(ms(20)).await.bytes),
                0,
                1,
            ) {}
        }
        let mut stream = client.into_stream();
        stream.write_all(&frame).await.unwrap();
        let flood = tokio::spawn(flood(stream, frame, reads));
        tokio::time::sleep(ms(300)).await;
        let report = server.drain().await;
        assert!(report.is_clean(), "reads {reads}, asks {asks}: {report}");
        assert!(
            report.drain < ms(3_000),
            "reads {reads}, asks {asks}: {report}"
        );
        flood.abort();
    }
}

fn has(frames: &[Frame], kind: u8, stream: u32) -> bool {
    frames
        .iter()
        .any(|frame| (frame.kind, frame.stream) == (kind, stream))
}

/// Builds a service that answers at once, except `/slow`, which takes three seconds, and `/never`.
fn paths() -> App {
    app(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/slow" => tokio::time::sleep(ms(3_000)).await,
            "/never" => pending().await,
            _ => {}
        }
        reply(200, "hello")
    })
}

#[tokio::test]
async fn late_streams_of_a_client_that_ignores_the_goaway_are_refused() {
    let mut server = Setup::new().drain(ms(8_000)).start(paths()).await;
    let mut client = Raw::connect(server.addr).await;
    client.send(hello(65_535)).await;
    client.send(get(1, "/slow")).await;
    client.read_until_close_for(ms(100)).await;
    server.handle.drain_now();
    client.mark();
    let (mut heard, mut asked) = (Vec::new(), Vec::new());
    let mut next = 3;
    let how = loop {
        if client.try_send(get(next, "/late")).await.is_ok() {
            asked.push((next, client.elapsed()));
        }
        next += 2;
        let more = client.read_until_close_for(ms(50)).await;
        heard.extend(frames(&more.bytes));
        if more.how != How::StillOpen {
            break more.how;
        }
    };
    let closed = client.elapsed();
    assert_ne!(how, How::StillOpen);
    assert!(
        has(&heard, kind::DATA, 1),
        "the old stream is served: {heard:?}"
    );
    assert!(closed > ms(2_500) && closed < ms(4_500), "{closed:?}");
    for (stream, at) in asked {
        let refused = heard.iter().any(|frame| {
            (frame.kind, frame.stream, frame.code()) == (kind::RST_STREAM, stream, Some(7))
        });
        let served = has(&heard, kind::DATA, stream);
        if at < ms(900) {
            assert!(served, "{stream} at {at:?} was on its way");
        } else if at > ms(1_300) && at < ms(2_500) {
            assert!(refused && !served, "{stream} at {at:?} of {heard:?}");
        }
    }
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn last_goaway_names_the_last_stream_without_acknowledgements() {
    let mut server = Setup::new().start(paths()).await;
    let mut client = Raw::connect(server.addr).await;
    client.send(hello(65_535)).await;
    client.send([get(1, "/"), get(3, "/")].concat()).await;
    client.read_until_close_for(ms(100)).await;
    server.handle.drain_now();
    let ending = client.read_until_close().await;
    assert_eq!(ending.how, How::Fin);
    let heard = frames(&ending.bytes);
    let last = heard.iter().rfind(|frame| frame.kind == kind::GOAWAY);
    let last = last.expect("a GOAWAY");
    assert_eq!(last.payload[..4], 3_u32.to_be_bytes(), "{heard:?}");
    assert_eq!(last.code(), Some(0));
    let report = server.report().await;
    assert!(report.is_clean() && report.drain < ms(2_500), "{report}");
}

#[tokio::test]
async fn unread_answer_is_reported() {
    // Answers are small: their streams are over as soon as h2 has buffered them.
    let app = app(|_| async { reply(200, vec![7; 200]) });
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let shutdown = shutdown.drain(ms(500));
    let handle = shutdown.handle();
    let connections = Connections::new(Timeouts::none(), Limits::default()).unwrap();
    let connections = connections.follow(&handle);
    let report = tokio::spawn(shutdown.run());
    let (mut client, io) = tokio::io::duplex(8 * 1024);
    tokio::spawn(connections.serve(io, ConnInfo::default(), app));
    let requests: Vec<u8> = (0..100).flat_map(|at| get(2 * at + 1, "/small")).collect();
    client.write_all(&hello(WIDE)).await.unwrap();
    client.write_all(&requests).await.unwrap();
    tokio::time::sleep(ms(200)).await;
    handle.drain_now();
    let report = within(LIMIT, "the report", report).await.unwrap().unwrap();
    assert!(!report.is_clean(), "{report}");
    assert!(
        report.cut.iter().all(|cut| cut.path == "/small"),
        "{report}"
    );
    drop(client);
}

#[tokio::test]
async fn acknowledging_clients_leave_at_once() {
    let mut server = Setup::new().start(paths()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut reader = SlowReader::connect(server.addr).await;
        reader.say([hello(WIDE), get(1, "/")].concat()).await;
        let got = reader.read().await;
        assert!(got.whole, "{got:?}");
        // The client reads on and answers PINGs, but never closes its side.
        clients.push(tokio::spawn(async move {
            reader.read().await;
            pending::<()>().await;
        }));
    }
    let report = server.drain().await;
    assert!(report.is_clean() && report.drain < ms(900), "{report}");
    clients.iter().for_each(|client| client.abort());
}
