//! A first GOAWAY, ahead of hyper's.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Streams;

/// GOAWAY with the highest stream there can be, and no error.
const NOTICE: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, // length 8, type GOAWAY, no flags, stream 0
    0x7f, 0xff, 0xff, 0xff, // last stream
    0, 0, 0, 0, // NO_ERROR
];

/// Writes the notice between two frames: h2 flushes the transport when it has handed over all it had,
/// so after a flush and before the next write nothing is half written.
#[derive(Default)]
pub(super) struct Notice {
    /// h2 has written something, and so its SETTINGS first.
    begun: bool,
    /// h2 has written since it last flushed: this may be the middle of a frame.
    dirty: bool,
    /// How much of the notice has been written.
    written: u8,
    /// It is written, and a transport that buffers may still hold it.
    unflushed: bool,
}

impl Notice {
    /// Writes it, if it is wanted and this is the place.
    pub fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        streams: &Streams,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = streams.leaving.notice.load(Ordering::Relaxed) && self.begun && !self.dirty;
        if wanted || self.under_way() {
            ready!(self.write(io, cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// h2 is done: a notice that is half written is written to its end.
    pub fn poll_whole<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.under_way() {
            true => self.write(io, cx),
            false => Poll::Ready(Ok(())),
        }
    }

    /// h2 has handed over all it had.
    pub fn poll_flushed<T: AsyncWrite + Unpin>(
        &mut self,
        streams: &Streams,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.dirty = false;
        self.poll(streams, io, cx)
    }

    /// h2 is about to write: not before a notice that is half written.
    pub fn poll_turn<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_whole(io, cx))?;
        self.begun = true;
        self.dirty = true;
        Poll::Ready(Ok(()))
    }

    /// h2 stands between two frames, behind its SETTINGS.
    pub fn is_between_frames(&self) -> bool {
        self.begun && !self.dirty && !self.under_way()
    }

    fn under_way(&self) -> bool {
        (1..NOTICE.len()).contains(&usize::from(self.written))
    }

    fn write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = NOTICE.get(usize::from(self.written)..) {
            match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += u8::try_from(length).unwrap_or(u8::MAX),
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
