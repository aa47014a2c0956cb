use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// A transport in memory whose write side does as `odd` does.
pub struct Odd<O> {
    pub io: DuplexStream,
    pub odd: O,
}

type Inner<'a> = Pin<&'a mut DuplexStream>;

/// The write side of a transport; each method does as the one of [`AsyncWrite`] unless it is replaced.
pub trait WriteSide: Unpin {
    fn write(
        &mut self,
        io: Inner<'_>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        io.poll_write(cx, buf)
    }

    fn flush(&mut self, io: Inner<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io.poll_flush(cx)
    }

    fn shutdown(&mut self, io: Inner<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io.poll_shutdown(cx)
    }
}

impl<O: Unpin> AsyncRead for Odd<O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<O: WriteSide> AsyncWrite for Odd<O> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.odd.write(Pin::new(&mut this.io), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.odd.flush(Pin::new(&mut this.io), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.odd.shutdown(Pin::new(&mut this.io), cx)
    }
}
