//! Minimum rates and stalls of HTTP/2 streams.

use std::time::Duration;

use lameduck::Timeouts;
use lameduck::events::{CloseReason, TimeoutKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{KIB, SLOW_BODY, SLOW_READER, assert_within, connect, read_slowly, s};
use crate::support::wire::{END_HEADERS, END_STREAM};
use crate::support::{Frame, frames, kind};

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
