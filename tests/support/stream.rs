use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use lameduck::ConnInfo;
use lameduck::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A client's end of a connection.
pub enum Stream {
    Tcp(TcpStream),
    Memory(DuplexStream),
}

impl Stream {
    pub fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Memory(_) => panic!("a connection in memory has no socket"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The entrance of clients in memory. On tokio's paused clock their times are exact: the clock moves only when nothing
/// is ready, which bytes on their way through the kernel do not show.
#[derive(Clone)]
pub struct Door(mpsc::UnboundedSender<DuplexStream>);

/// The server's side of a [`Door`].
pub struct Memory(mpsc::UnboundedReceiver<DuplexStream>);

impl Door {
    pub fn new() -> (Door, Memory) {
        let (into, from) = mpsc::unbounded_channel();
        (Door(into), Memory(from))
    }

    pub fn connect(&self) -> Stream {
        let (client, io) = tokio::io::duplex(64 * 1024);
        self.0.send(io).expect("the server accepts");
        Stream::Memory(client)
    }
}

impl Listener for Memory {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, ConnInfo)> {
        match self.0.recv().await {
            Some(io) => Ok((io, ConnInfo::default())),
            None => std::future::pending().await,
        }
    }
}
