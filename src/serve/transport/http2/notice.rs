//! An early GOAWAY, ahead of hyper's.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::serve::exchange::Leaving;

/// GOAWAY with the highest possible stream, and no error.
const NOTICE: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, // length 8, type GOAWAY, no flags, stream 0
    0x7f, 0xff, 0xff, 0xff, // last stream
    0, 0, 0, 0, // NO_ERROR
];

/// The writer of the early GOAWAY. It writes between two frames: h2 flushes the transport when it has handed over all
/// its output, so after a flush and before the next write no frame is half written.
#[derive(Default)]
pub(crate) struct Notice {
    /// `true` once h2 has written: its SETTINGS come first.
    has_written: bool,
    /// `true` if h2 has written since it last flushed: this may be the middle of a frame.
    dirty: bool,
    /// The number of written bytes of the notice.
    written: u8,
    /// `true` if the notice is written, and a transport that buffers may still hold it.
    unflushed: bool,
}

impl Notice {
    /// Writes the notice, if it is requested and h2 is between two frames.
    pub(crate) fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        leaving: &Leaving,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = leaving.notice.load(Ordering::Relaxed) && self.has_written && !self.dirty;
        if wanted || self.under_way() {
            ready!(self.write(io, cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of a half-written notice when h2 is done.
    pub(crate) fn poll_whole<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.under_way() {
            true => self.write(io, cx),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Records that h2 has handed over all its output.
    pub(crate) fn poll_flushed<T: AsyncWrite + Unpin>(
        &mut self,
        leaving: &Leaving,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.dirty = false;
        self.poll(leaving, io, cx)
    }

    /// Prepares for a write of h2, which must not begin before a half-written notice is complete.
    pub(crate) fn poll_turn<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_whole(io, cx))?;
        self.has_written = true;
        self.dirty = true;
        Poll::Ready(Ok(()))
    }

    /// Returns `true` if h2 is between two frames, after its SETTINGS.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.has_written && !self.dirty && !self.under_way()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A transport that takes so many bytes, then none.
    #[derive(Default)]
    struct Transport {
        room: usize,
        written: Vec<u8>,
        flushed: usize,
    }

    impl AsyncWrite for Transport {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let length = buf.len().min(self.room);
            if length == 0 {
                return Poll::Pending;
            }
            self.room -= length;
            self.written.extend_from_slice(&buf[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed = self.written.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn wanted() -> (Notice, Leaving, Transport, Context<'static>) {
        let leaving = Leaving::default();
        leaving.notice.store(true, Ordering::Relaxed);
        let transport = Transport {
            room: 1_000,
            ..Transport::default()
        };
        let cx = Context::from_waker(Waker::noop());
        (Notice::default(), leaving, transport, cx)
    }

    #[test]
    fn written_behind_the_settings_and_between_frames_only() {
        let (mut notice, leaving, mut io, mut cx) = wanted();
        assert!(notice.poll(&leaving, &mut io, &mut cx).is_ready());
        assert!(io.written.is_empty(), "h2 has said nothing yet");
        assert!(notice.poll_turn(&mut io, &mut cx).is_ready());
        assert!(notice.poll(&leaving, &mut io, &mut cx).is_ready());
        assert!(io.written.is_empty(), "h2 may be in the middle of a frame");
        assert!(notice.poll_flushed(&leaving, &mut io, &mut cx).is_ready());
        assert_eq!(io.written, NOTICE);
    }

    #[test]
    fn written_once_and_flushed_to_the_wire() {
        let (mut notice, leaving, mut io, mut cx) = wanted();
        assert!(notice.poll_turn(&mut io, &mut cx).is_ready());
        leaving.notice.store(false, Ordering::Relaxed);
        assert!(notice.poll_flushed(&leaving, &mut io, &mut cx).is_ready());
        leaving.notice.store(true, Ordering::Relaxed);
        // h2 has no output: only the notice causes a flush.
        for _ in 0..3 {
            assert!(notice.poll(&leaving, &mut io, &mut cx).is_ready());
        }
        assert_eq!((io.written.len(), io.flushed), (NOTICE.len(), NOTICE.len()));
    }

    #[test]
    fn half_a_notice_is_ended_before_h2_goes_on() {
        let (mut notice, leaving, mut io, mut cx) = wanted();
        assert!(notice.poll_turn(&mut io, &mut cx).is_ready());
        io.room = 5;
        assert!(notice.poll_flushed(&leaving, &mut io, &mut cx).is_pending());
        assert!(notice.poll_turn(&mut io, &mut cx).is_pending());
        io.room = 7;
        assert!(notice.poll_turn(&mut io, &mut cx).is_pending());
        io.room = 100;
        assert!(notice.poll_turn(&mut io, &mut cx).is_ready());
        assert_eq!(io.written, NOTICE);
    }
}
