use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LIMIT, within};

/// The kinds of HTTP/2 frames that tests look for.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
}

/// An HTTP/2 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a short frame");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let head = bytes.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = bytes.get(9..9 + length)?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((Frame::new(head[3], head[4], stream, payload), 9 + length))
    }

    /// Returns the error code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }
}

/// Returns the complete frames in `bytes`.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    Frames::default().take(bytes)
}

/// A parser of frames from bytes that arrive in pieces, each of which is read once.
#[derive(Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Returns the frames that these bytes complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        let mut frames = Vec::new();
        while let Some((frame, length)) = Frame::parse(rest) {
            frames.push(frame);
            rest = &rest[length..];
        }
        let taken = self.partial.len() - rest.len();
        self.partial.drain(..taken);
        frames
    }
}

/// The frames that a [`Tap`] has recorded.
#[derive(Clone)]
pub struct Heard {
    mark: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    partial: Frames,
    frames: Vec<(Duration, Frame)>,
}

impl Heard {
    /// Each frame and its time since the connection was made.
    pub fn frames(&self) -> Vec<(Duration, Frame)> {
        self.inner.lock().unwrap().frames.clone()
    }

    /// Returns the first frame of that kind on that stream.
    pub fn first(&self, kind: u8, stream: u32) -> Option<(Duration, Frame)> {
        let inner = self.inner.lock().unwrap();
        let mut all = inner.frames.iter();
        all.find(|(_, frame)| (frame.kind, frame.stream) == (kind, stream))
            .cloned()
    }

    /// Waits for [`first`](Self::first).
    pub async fn until(&self, kind: u8, stream: u32) -> (Duration, Frame) {
        let came = async {
            loop {
                match self.first(kind, stream) {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        within(LIMIT, "a frame", came).await
    }

    /// Returns the time since the connection was made.
    pub fn elapsed(&self) -> Duration {
        self.mark.elapsed()
    }
}

/// A TCP stream that records each frame the server sends.
pub struct Tap {
    stream: TcpStream,
    heard: Heard,
}

/// Connects an HTTP/2 client with prior knowledge, and a record of its wire. The connection must be polled: spawn it.
pub async fn h2_connect(addr: SocketAddr) -> (SendRequest<Bytes>, Connection<Tap, Bytes>, Heard) {
    let stream = within(LIMIT, "a connection", TcpStream::connect(addr)).await;
    let stream = stream.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let heard = Heard {
        mark: Instant::now(),
        inner: Arc::default(),
    };
    let tap = Tap {
        stream,
        heard: heard.clone(),
    };
    let (sender, connection) = h2::client::handshake(tap).await.expect("a handshake");
    (sender, connection, heard)
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        let at = self.heard.mark.elapsed();
        let mut inner = self.heard.inner.lock().unwrap();
        let whole = inner.partial.take(&buf.filled()[before..]);
        inner
            .frames
            .extend(whole.into_iter().map(|frame| (at, frame)));
        drop(inner);
        poll
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
