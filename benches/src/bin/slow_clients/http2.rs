//! Slow clients over HTTP/2. A deadline of a request ends its stream; the others end the connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use lameduck_benches::frames::{self, END_STREAM, Frame, Frames, INITIAL_WINDOW, PREFACE, kind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time,
};

use crate::{
    MARGIN,
    attack::Deadlines,
    attackers::{self, Outcome, PATIENCE},
    watch::Watch,
};

/// The ways to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Sends the preface, and no SETTINGS.
    Preface,
    /// Sends a header block byte by byte, in a HEADERS frame that does not end.
    SlowHeaders,
    /// Sends HEADERS that CONTINUATION frames should end, beside a stream that is open; h2 counts such frames, so that
    /// none follow.
    HalfHeaders,
    /// Sends DATA frames of a byte.
    SlowBody,
    /// Asks for much and opens its window byte by byte.
    SlowRead,
    /// Asks for much, opens its window wide, and does not read its socket.
    NoRead,
    /// Makes one request and then keeps the connection.
    Idle,
}

impl Attack {
    pub const ALL: [Attack; 7] = [
        Attack::Preface,
        Attack::SlowHeaders,
        Attack::HalfHeaders,
        Attack::SlowBody,
        Attack::SlowRead,
        Attack::NoRead,
        Attack::Idle,
    ];

    pub fn deadline(self, deadlines: &Deadlines) -> Duration {
        match self {
            Attack::Preface | Attack::SlowHeaders | Attack::HalfHeaders => deadlines.read_header,
            Attack::SlowBody => deadlines.read,
            Attack::SlowRead => deadlines.write,
            // Its stream ends before, and the reset of that waits with the rest.
            Attack::NoRead => deadlines.write_stall,
            Attack::Idle => deadlines.idle,
        }
    }

    /// Returns the bytes sent at once, and those sent repeatedly.
    fn bytes(self) -> (Vec<u8>, Vec<u8>) {
        let hello = |window| [PREFACE, &frames::settings(&[(INITIAL_WINDOW, window)])].concat();
        let wide = 1 << 30;
        match self {
            Attack::Preface => (PREFACE.to_vec(), Vec::new()),
            Attack::SlowHeaders => {
                // The frame declares more bytes than are sent.
                let mut head = Frame::new(kind::HEADERS, END_STREAM, 1, [0; 4096]).bytes();
                head.truncate(9);
                (
                    [hello(wide), head, frames::block("GET", "/")].concat(),
                    vec![0],
                )
            }
            Attack::HalfHeaders => {
                let block = frames::block("GET", "/");
                let open = frames::request(1, "POST", "/echo", false);
                let head = Frame::new(kind::HEADERS, END_STREAM, 3, &block[..4]).bytes();
                ([hello(wide), open, head].concat(), Vec::new())
            }
            Attack::SlowBody => {
                let head = frames::request(1, "POST", "/echo", false);
                let drip = Frame::new(kind::DATA, 0, 1, b"x").bytes();
                ([hello(wide), head].concat(), drip)
            }
            Attack::SlowRead => {
                let head = frames::request(1, "GET", "/big?mb=8", true);
                ([hello(1), head].concat(), frames::window_update(1, 1))
            }
            Attack::NoRead => {
                let open = frames::window_update(0, wide);
                let head = frames::request(1, "GET", "/big?mb=8", true);
                ([hello(wide), open, head].concat(), Vec::new())
            }
            Attack::Idle => {
                let head = frames::request(1, "GET", "/", true);
                ([hello(wide), head].concat(), Vec::new())
            }
        }
    }

    /// Returns true if the end of its stream is the end of the attack.
    fn ends_with_its_stream(self) -> bool {
        matches!(self, Attack::SlowBody | Attack::SlowRead)
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Attack::Preface => "HTTP/2 preface alone",
            Attack::SlowHeaders => "HTTP/2 slow headers",
            Attack::HalfHeaders => "HTTP/2 half a header block",
            Attack::SlowBody => "HTTP/2 slow body",
            Attack::SlowRead => "HTTP/2 slow window",
            Attack::NoRead => "HTTP/2 no reading",
            Attack::Idle => "HTTP/2 idle",
        })
    }
}

/// Opens the connections, is slow on each, and watches until all of it has ended or patience ends.
pub async fn run(
    attack: Attack,
    addr: SocketAddr,
    connections: usize,
    deadlines: &Deadlines,
) -> Result<Outcome> {
    let limit = attack.deadline(deadlines) + MARGIN;
    let watch = Watch::start(addr.port());
    let over = Arc::new(Notify::new());
    let mut opened = Vec::with_capacity(connections);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let stream = attackers::connect(addr, attack == Attack::NoRead).await?;
        let port = stream.local_addr()?.port();
        opened.push((port, Instant::now()));
        let client = client(attack, stream, deadlines.drip, over.clone());
        clients.spawn(async move { (port, client.await) });
    }
    let mut ended = std::collections::HashMap::new();
    let ports: Vec<u16> = opened.iter().map(|(port, _)| *port).collect();
    if attack.ends_with_its_stream() {
        let until = time::Instant::now() + limit + PATIENCE;
        while let Ok(Some(client)) = time::timeout_at(until, clients.join_next()).await {
            let (port, end) = client?;
            ended.insert(port, end);
        }
    } else {
        watch.until_gone(&ports, limit + PATIENCE).await;
    }
    over.notify_waiters();
    let end = |port| match attack.ends_with_its_stream() {
        true => ended.get(&port).copied().flatten(),
        false => watch.sighting(port).and_then(|sighting| sighting.gone_at),
    };
    Ok(Outcome::of(&opened, &watch, limit, end))
}

/// Runs one slow client; returns when its stream or its connection ended, as it saw it.
async fn client(
    attack: Attack,
    mut stream: TcpStream,
    drip: Duration,
    over: Arc<Notify>,
) -> Option<Instant> {
    let over = over.notified();
    tokio::pin!(over);
    let (start, again) = attack.bytes();
    stream.write_all(&start).await.ok()?;
    let (mut read, mut frames) = (Vec::new(), Frames::default());
    let mut drips = time::interval(drip);
    drips.tick().await;
    let mut ended = None;
    while ended.is_none() {
        tokio::select! {
            () = &mut over => break,
            _ = drips.tick() => {
                // Errors are no reason to stop: reading shows how it ended.
                let _ = stream.try_write(&again);
            }
            count = stream.read_buf(&mut read), if attack != Attack::NoRead => {
                if !matches!(count, Ok(1..)) {
                    ended = Some(Instant::now());
                }
                let came = frames.take(&read);
                read.clear();
                for frame in came {
                    // Nothing may come between HEADERS and CONTINUATION (RFC 9113, 6.10).
                    let owed = frame.acknowledgement().filter(|_| attack != Attack::HalfHeaders);
                    if let Some(owed) = owed {
                        let _ = stream.try_write(&owed);
                    }
                    if frame.stream == 1 && frame.ends_stream() && attack.ends_with_its_stream() {
                        ended = Some(Instant::now());
                    }
                }
            }
        }
    }
    // The connection stays open on this side until the whole attack is over, unless it was watched for the end of its
    // stream.
    if ended.is_none() || !attack.ends_with_its_stream() {
        over.await;
    }
    ended
}
