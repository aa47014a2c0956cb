//! An HTTP/1 client that is strict about completeness: an answer is complete, or it is a [`Failure`].

mod head;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time,
};

use self::head::{Framing, Head, parse_head};

const MAX_HEAD: usize = 64 * 1024;

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// True if the server announced that it closes the connection after this answer.
    pub close: bool,
    /// The time when the last byte was read.
    pub done_at: Instant,
}

/// The reason for the lack of a complete answer.
#[derive(Debug)]
pub enum Failure {
    Connect(io::Error),
    Write(io::Error),
    Read(io::Error),
    /// The connection ended before the answer did; names the missing part.
    Ended(&'static str),
    /// The server sent something that is no answer to this request.
    Malformed(String),
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(f, "connecting failed: {error}"),
            Failure::Write(error) => write!(f, "writing failed: {error}"),
            Failure::Read(error) => write!(f, "reading failed: {error}"),
            Failure::Ended(missing) => write!(f, "the connection ended before {missing}"),
            Failure::Malformed(what) => write!(f, "malformed answer: {what}"),
            Failure::TimedOut => f.write_str("no complete answer in time"),
        }
    }
}

impl std::error::Error for Failure {}

/// The state of a connection while no request is under way.
#[derive(Debug, PartialEq, Eq)]
pub enum Idle {
    Open,
    Closed,
    /// The server sent unrequested bytes.
    Talks,
}

/// The receive buffer of a slow reader: unread bytes stay with the server.
const SLOW_RECEIVE_BUFFER: u32 = 32 * 1024;
/// The most that a slow reader takes at once.
const SLOW_PIECE: u64 = 16 * 1024;

/// Connects a client that reads slowly, with a receive buffer small enough for the server to notice.
pub async fn connect_slow_reader(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER)?;
    socket.connect(addr).await
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    /// Bytes read and not yet consumed.
    buffer: Vec<u8>,
    /// The bytes read a second; `None`: as they arrive.
    pace: Option<u64>,
}

impl Connection {
    pub async fn open(addr: SocketAddr, limit: Duration) -> Result<Self, Failure> {
        Self::open_by(TcpStream::connect(addr), None, limit).await
    }

    /// Opens a connection whose client reads so many bytes a second.
    pub async fn open_paced(addr: SocketAddr, pace: u64, limit: Duration) -> Result<Self, Failure> {
        Self::open_by(connect_slow_reader(addr), Some(pace), limit).await
    }

    async fn open_by(
        connecting: impl Future<Output = io::Result<TcpStream>>,
        pace: Option<u64>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let stream = time::timeout(limit, connecting)
            .await
            .map_err(|_| Failure::TimedOut)?
            .map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            pace,
        })
    }

    /// Returns this side's port.
    pub fn local_port(&self) -> Option<u16> {
        self.stream.local_addr().ok().map(|addr| addr.port())
    }

    /// Checks without waiting if the server closed the connection.
    pub fn look(&mut self) -> Idle {
        let mut bytes = [0; 64];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => Idle::Closed,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Idle::Talks
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Open,
            Err(_) => Idle::Closed,
        }
    }

    /// Waits until the server closes the idle connection or sends unrequested bytes; cancel safe.
    pub async fn until_not_idle(&mut self) -> Idle {
        loop {
            if self.stream.readable().await.is_err() {
                return Idle::Closed;
            }
            match self.look() {
                Idle::Open => continue,
                other => return other,
            }
        }
    }

    /// Writes a whole request and reads its complete answer, within `limit`.
    pub async fn request(&mut self, request: &[u8], limit: Duration) -> Result<Answer, Failure> {
        time::timeout(limit, async {
            self.stream
                .write_all(request)
                .await
                .map_err(Failure::Write)?;
            self.answer().await
        })
        .await
        .map_err(|_| Failure::TimedOut)?
    }

    /// Writes a request in pieces with pauses, and reads its complete answer, within `limit`.
    pub async fn request_in_pieces(
        &mut self,
        pieces: impl Iterator<Item = &[u8]>,
        pause: Duration,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        time::timeout(limit, async {
            for piece in pieces {
                self.stream.write_all(piece).await.map_err(Failure::Write)?;
                time::sleep(pause).await;
            }
            self.answer().await
        })
        .await
        .map_err(|_| Failure::TimedOut)?
    }

    pub async fn get(&mut self, path: &str, limit: Duration) -> Result<Answer, Failure> {
        self.request(&get_request(path), limit).await
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let head = self.head().await?;
        let body = match head.framing {
            Framing::Length(length) => self.take(length, "the end of the body").await?,
            Framing::Chunked => self.chunks().await?,
        };
        // One request, one answer: more bytes are an answer to nothing.
        if !self.buffer.is_empty() {
            return Err(Failure::Malformed(format!(
                "{} bytes after the answer",
                self.buffer.len()
            )));
        }
        Ok(Answer {
            status: head.status,
            body,
            close: head.close,
            done_at: Instant::now(),
        })
    }

    async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some(head) = parse_head(&self.buffer)? {
                self.buffer.drain(..head.length);
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Failure::Malformed("head too long".to_owned()));
            }
            let missing = if self.buffer.is_empty() {
                "the first byte of the answer"
            } else {
                "the end of the head"
            };
            self.fill(missing).await?;
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Failure::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            body.extend(self.take(size, "the end of a chunk").await?);
            if !self.line().await?.is_empty() {
                return Err(Failure::Malformed("no line end after a chunk".to_owned()));
            }
        }
        // Trailers, up to the empty line.
        while !self.line().await?.is_empty() {}
        Ok(body)
    }

    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line)
                    .map_err(|_| Failure::Malformed("a line that is no text".to_owned()));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Failure::Malformed("line too long".to_owned()));
            }
            self.fill("the end of a chunk line").await?;
        }
    }

    async fn take(&mut self, length: usize, missing: &'static str) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < length {
            self.fill(missing).await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn fill(&mut self, missing: &'static str) -> Result<(), Failure> {
        let read = match self.pace {
            None => self.stream.read_buf(&mut self.buffer).await,
            Some(pace) => {
                let mut piece = (&mut self.stream).take(SLOW_PIECE);
                let read = piece.read_buf(&mut self.buffer).await;
                if let Ok(count) = read {
                    time::sleep(Duration::from_secs(1) * count as u32 / pace as u32).await;
                }
                read
            }
        };
        match read {
            Ok(0) => Err(Failure::Ended(missing)),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Read(error)),
        }
    }
}

pub fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub fn post_request(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends one request on a connection of its own.
pub async fn get_once(addr: SocketAddr, path: &str, limit: Duration) -> Result<Answer, Failure> {
    let mut connection = Connection::open(addr, limit).await?;
    connection.get(path, limit).await
}
