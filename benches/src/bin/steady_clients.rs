//! Clients that are slow and healthy: none of them may be cut.
//!
//! All run at once against one server with its default timeouts, each for the whole time: uploads and downloads of a few
//! hundred bytes a second, event streams that are silent for long, a large download at a steady rate; over HTTP/1 and
//! HTTP/2.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use lameduck_benches::{
    frames::{self, Frame, Frames, INITIAL_WINDOW, PREFACE, kind},
    nofile,
    process::ServerCommand,
    settings::Args,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time,
};

const USAGE: &str = "steady_clients [--for 2m] [--clients 10] [--rate 300] [--server PATH]

--for      how long each client goes on
--clients  of each kind
--rate     bytes a second of the slow uploads and downloads
--server   full_service, or another server with its routes; started with its default timeouts and without a rate limit
Ends with 1 if the server cut one of them.";

/// The path of a stream with a line each 20 s.
const EVENTS: &str = "/stream?n=10000&ms=20000";

/// The parts of a second in which a client of `--rate` moves its share.
const STEPS: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Upload,
    Upload2,
    Download,
    Download2,
    /// [`EVENTS`].
    EventSink,
    Events2,
    /// 2 MB a second.
    Large,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Upload,
        Kind::Upload2,
        Kind::Download,
        Kind::Download2,
        Kind::EventSink,
        Kind::Events2,
        Kind::Large,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Upload => "HTTP/1 slow upload",
            Kind::Upload2 => "HTTP/2 slow upload",
            Kind::Download => "HTTP/1 slow download",
            Kind::Download2 => "HTTP/2 slow download",
            Kind::EventSink => "HTTP/1 event stream",
            Kind::Events2 => "HTTP/2 event stream",
            Kind::Large => "HTTP/1 download at 2 MB/s",
        })
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args = Args::from_env(USAGE);
    let duration = args.duration("--for", Duration::from_secs(120))?;
    let count: usize = args.value("--clients", 10)?;
    let rate: u32 = args.value("--rate", 300)?;
    let server = args.server("--server", "full_service")?;
    args.finish()?;
    ensure!(rate >= STEPS, "--rate must be at least {STEPS}");
    nofile::raise()?;
    let command = ServerCommand::new(&server)?
        .env("RATE_LIMIT", "off")
        .env("BODY_LIMIT", "off");
    let server = command.start().await?;
    println!(
        "{count} clients of each kind for {duration:?} against {}",
        command.name()
    );

    let mut clients = JoinSet::new();
    for kind in Kind::ALL {
        for _ in 0..count {
            let addr = server.addr();
            clients.spawn(async move { (kind, steady(kind, addr, rate, duration).await) });
        }
    }
    let mut cut = 0;
    while let Some(client) = clients.join_next().await {
        let (kind, end) = client?;
        if let Err(error) = end {
            cut += 1;
            println!("{kind}: {error}");
        }
    }
    println!("steady_clients: {cut} of {} cut", count * Kind::ALL.len());
    Ok(ExitCode::from(u8::from(cut > 0)))
}

/// Runs for `duration`; an error states how the server cut it.
async fn steady(kind: Kind, addr: SocketAddr, rate: u32, duration: Duration) -> Result<()> {
    let began = Instant::now();
    let going = async {
        match kind {
            Kind::Upload => upload(addr, rate).await,
            Kind::Upload2 => upload2(addr, rate).await,
            Kind::Download => download(addr, "/big?mb=1", rate, 4096).await,
            Kind::Large => download(addr, "/big?mb=1024", 2_000_000, 64 * 1024).await,
            Kind::Download2 => download2(addr, rate).await,
            Kind::EventSink => events(addr).await,
            Kind::Events2 => events2(addr).await,
        }
    };
    match time::timeout(duration, going).await {
        Err(_) => Ok(()),
        Ok(end) => {
            let how = end.err().unwrap_or_else(|| anyhow!("it ended"));
            bail!("after {:.1} s: {how}", began.elapsed().as_secs_f64())
        }
    }
}

async fn connect(addr: SocketAddr, receive_buffer: u32) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(receive_buffer)?;
    let stream = socket.connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns a timer for a part of a second, and the bytes that move in it.
fn step(rate: u32) -> (time::Interval, usize) {
    let interval = time::interval(Duration::from_secs(1) / STEPS);
    (interval, (rate / STEPS) as usize)
}

/// Reads everything, without a limit; returns an error when it ends.
async fn read_on(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        ensure!(stream.read(&mut bytes).await? > 0, "the server closed");
    }
}

async fn upload(addr: SocketAddr, rate: u32) -> Result<()> {
    let mut stream = connect(addr, 64 * 1024).await?;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let (mut steps, bytes) = step(rate);
    loop {
        tokio::select! {
            _ = steps.tick() => stream.write_all(&vec![b'x'; bytes]).await?,
            end = read_on(&mut stream) => end?,
        }
    }
}

/// Reads at a rate: unread bytes are in its small receive buffer, or wait at the server.
async fn download(addr: SocketAddr, path: &str, rate: u32, receive_buffer: u32) -> Result<()> {
    let mut stream = connect(addr, receive_buffer).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (mut steps, bytes) = step(rate);
    let mut piece = vec![0; bytes];
    loop {
        steps.tick().await;
        stream.read_exact(&mut piece).await?;
    }
}

async fn events(addr: SocketAddr) -> Result<()> {
    let mut stream = connect(addr, 64 * 1024).await?;
    let head = format!("GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    read_on(&mut stream).await
}

/// An HTTP/2 connection with one stream, whose frames are read as they arrive.
struct Http2 {
    stream: TcpStream,
    partial: Frames,
    came: VecDeque<Frame>,
}

impl Http2 {
    async fn open(addr: SocketAddr, window: u32, request: Vec<u8>) -> Result<Self> {
        let mut stream = connect(addr, 64 * 1024).await?;
        let hello = frames::settings(&[(INITIAL_WINDOW, window)]);
        stream
            .write_all(&[PREFACE, &hello, &request].concat())
            .await?;
        Ok(Http2 {
            stream,
            partial: Frames::default(),
            came: VecDeque::new(),
        })
    }

    /// Returns the number of bytes in the next DATA.
    async fn data(&mut self) -> Result<usize> {
        loop {
            while let Some(frame) = self.came.pop_front() {
                if let Some(owed) = frame.acknowledgement() {
                    self.stream.write_all(&owed).await?;
                }
                ensure!(frame.kind != kind::GOAWAY, "the server sent GOAWAY");
                ensure!(
                    !frame.ends_stream(),
                    "the server ended the stream: {frame:?}"
                );
                if frame.kind == kind::DATA && !frame.payload.is_empty() {
                    return Ok(frame.payload.len());
                }
            }
            let mut read = Vec::new();
            ensure!(
                self.stream.read_buf(&mut read).await? > 0,
                "the server closed"
            );
            self.came.extend(self.partial.take(&read));
        }
    }

    /// Reads on, and returns as much window as arrives.
    async fn read_on(&mut self) -> Result<()> {
        loop {
            let count = self.data().await? as u32;
            let windows = [
                frames::window_update(0, count),
                frames::window_update(1, count),
            ];
            self.stream.write_all(&windows.concat()).await?;
        }
    }
}

async fn upload2(addr: SocketAddr, rate: u32) -> Result<()> {
    let head = frames::request(1, "POST", "/echo", false);
    let mut http2 = Http2::open(addr, 1 << 20, head).await?;
    let (mut steps, bytes) = step(rate);
    loop {
        tokio::select! {
            _ = steps.tick() => {
                let data = Frame::new(kind::DATA, 0, 1, vec![b'x'; bytes]).bytes();
                http2.stream.write_all(&data).await?;
            }
            end = http2.read_on() => end?,
        }
    }
}

async fn download2(addr: SocketAddr, rate: u32) -> Result<()> {
    let (mut steps, bytes) = step(rate);
    let head = frames::request(1, "GET", "/big?mb=1", true);
    let mut http2 = Http2::open(addr, bytes as u32, head).await?;
    loop {
        tokio::select! {
            _ = steps.tick() => {
                http2.stream.write_all(&frames::window_update(1, bytes as u32)).await?;
            }
            count = http2.data() => {
                count?;
            }
        }
    }
}

async fn events2(addr: SocketAddr) -> Result<()> {
    let head = frames::request(1, "GET", EVENTS, true);
    Http2::open(addr, 1 << 20, head).await?.read_on().await
}
