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

use super::wire::{Frame, Frames};
use super::{LIMIT, within};

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
