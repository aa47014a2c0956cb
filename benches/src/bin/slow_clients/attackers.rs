//! The attacking clients, and the fate of each connection.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lameduck_benches::statistics;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time,
};

use crate::{
    attack::{Attack, Deadlines},
    watch::Watch,
};

/// The time that connections are watched beyond their limit, to distinguish late from never.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The outcome of the connections of one attack.
pub struct Outcome {
    held: Vec<Duration>,
    never_closed: usize,
    not_accepted: usize,
    /// The first line that each connection was sent.
    answers: BTreeMap<String, usize>,
    limit: Duration,
}

impl Outcome {
    /// Computes the outcome from the time each connection was opened and the time that `end` gives for its end.
    pub fn of(
        opened: &[(u16, Instant)],
        watch: &Watch,
        limit: Duration,
        end: impl Fn(u16) -> Option<Instant>,
    ) -> Self {
        let mut outcome = Outcome {
            held: Vec::new(),
            never_closed: 0,
            not_accepted: 0,
            answers: BTreeMap::new(),
            limit,
        };
        for (port, since) in opened {
            match (watch.sighting(*port), end(*port)) {
                (None, _) => outcome.not_accepted += 1,
                (_, None) => outcome.never_closed += 1,
                (_, Some(end)) => outcome.held.push(end.saturating_duration_since(*since)),
            }
        }
        outcome
    }

    /// Prints the outcome; `false` when a connection was held for too long.
    pub fn print(&self, attack: impl Display, deadline: Duration) -> bool {
        let late = self.held.iter().filter(|held| **held > self.limit).count();
        let clean = late == 0 && self.never_closed == 0 && self.not_accepted == 0;
        println!(
            "{attack}: deadline {:?}; {} closed after min {}, median {}, max {}; {late} late, {} still held after {:?}, {} never accepted: {}",
            deadline,
            self.held.len(),
            statistics::millis(statistics::percentile(&self.held, 0.0)),
            statistics::millis(statistics::median(&self.held)),
            statistics::millis(statistics::percentile(&self.held, 100.0)),
            self.never_closed,
            self.limit + PATIENCE,
            self.not_accepted,
            if clean { "ok" } else { "TOO LONG" },
        );
        for (answer, count) in &self.answers {
            println!("    {count} were sent {answer:?}");
        }
        clean
    }
}

/// Opens the connections, is slow on each, and watches until the server let all of them go or patience ends.
pub async fn run(
    attack: Attack,
    addr: SocketAddr,
    connections: usize,
    deadlines: &Deadlines,
) -> Result<Outcome> {
    let limit = attack.limit(deadlines);
    let watch = Watch::start(addr.port());
    let over = Arc::new(Notify::new());
    let mut opened = Vec::with_capacity(connections);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let stream = connect(addr, attack == Attack::SlowRead).await?;
        opened.push((stream.local_addr()?.port(), Instant::now()));
        clients.spawn(client(attack, stream, deadlines.drip, over.clone()));
    }
    let ports: Vec<u16> = opened.iter().map(|(port, _)| *port).collect();
    watch.until_gone(&ports, limit + PATIENCE).await;
    over.notify_waiters();

    let mut outcome = Outcome::of(&opened, &watch, limit, |port| {
        watch.sighting(port).and_then(|sighting| sighting.gone_at)
    });
    while let Some(first_line) = clients.join_next().await {
        let first_line = first_line?.unwrap_or_else(|| "nothing".to_owned());
        *outcome.answers.entry(first_line).or_default() += 1;
    }
    Ok(outcome)
}

/// `small`: with a small receive buffer, so that the response stays with the server.
pub async fn connect(addr: SocketAddr, small: bool) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if small {
        socket.set_recv_buffer_size(4096)?;
    }
    let connecting = time::timeout(Duration::from_secs(5), socket.connect(addr));
    let stream = connecting.await.context("connecting takes too long")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs one slow client, which keeps its end open until the attack is over, and returns the first line it was sent.
async fn client(
    attack: Attack,
    mut stream: TcpStream,
    pause: Duration,
    over: Arc<Notify>,
) -> Option<String> {
    let over = over.notified();
    tokio::pin!(over);
    let mut first = Vec::new();
    let (start, drip): (&[u8], &[u8]) = match attack {
        Attack::Silence => (b"", b""),
        Attack::SlowHeaders => (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Slow: 1\r\n"),
        Attack::SlowBody => (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
            b"x",
        ),
        Attack::SlowRead => (b"GET /big?mb=8 HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
        Attack::Idle => (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
    };
    let _ = stream.write_all(start).await;
    loop {
        // The slow reader takes a few bytes at a time; the others take everything available.
        let mut bytes = [0; 1024];
        let window = if attack == Attack::SlowRead { 32 } else { 1024 };
        if let Ok(count) = stream.try_read(&mut bytes[..window])
            && first.len() < 1024
        {
            first.extend_from_slice(&bytes[..count]);
        }
        // Errors are no reason to stop: the server's view of the connection is what counts.
        let _ = stream.try_write(drip);
        tokio::select! {
            () = &mut over => break,
            () = time::sleep(pause) => {}
        }
    }
    // A connection closed with an answer in flight: the answer may still be there.
    let mut bytes = [0; 1024];
    if first.is_empty()
        && let Ok(count) = stream.try_read(&mut bytes)
    {
        first.extend_from_slice(&bytes[..count]);
    }
    let text = String::from_utf8_lossy(&first);
    text.lines().next().map(str::to_owned)
}
