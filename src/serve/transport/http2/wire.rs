//! The wire layer between h2 and the transport.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::close::Close;
use super::inbound::Inbound;
use super::interim::Interim;
use super::notice::Notice;
use crate::serve::exchange::Streams;

/// The frame that h2 takes for the client's acknowledgement of its GOAWAY: the answer to the PING that it sends behind
/// it.
const GOAWAY_ACKNOWLEDGED: [u8; 17] = [
    0, 0, 8, 6, 1, 0, 0, 0, 0, // length 8, type PING, ACK, stream 0
    0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54,
];

/// The observer of both directions' frames, which adds the few that h2 does not send by itself.
#[derive(Default)]
pub(crate) struct Wire {
    notice: Notice,
    inbound: Inbound,
    interim: Interim,
    close: Close,
}

impl Wire {
    /// Reads for h2: first the bytes that are `ahead`, then from the transport.
    pub(crate) fn poll_read<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        streams: &Streams,
        ahead: &mut Bytes,
        io: &mut T,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The connection's task is awake: a requested notice is written here if there is no other output. A notice that
        // cannot be written now is written later.
        if let Poll::Ready(Err(error)) = self.notice.poll(&streams.leaving, io, cx) {
            return Poll::Ready(Err(error));
        }
        self.interim.follow(streams, &mut self.inbound);
        if let Poll::Ready(Err(error)) = self.poll_interim(io, cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        if !ahead.is_empty() {
            let length = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..length]);
            ahead.advance(length);
        } else if streams.leaving.acknowledge.load(Relaxed) {
            if self.inbound.is_between_messages() && buf.remaining() >= GOAWAY_ACKNOWLEDGED.len() {
                streams.leaving.acknowledge.store(false, Relaxed);
                buf.put_slice(&GOAWAY_ACKNOWLEDGED);
                return Poll::Ready(Ok(()));
            }
            // No further than the frame's end: there the acknowledgement is inserted, even with a client that never
            // stops sending.
            let mut piece = [0; 1024];
            let most = self.inbound.to_the_end().min(buf.remaining());
            let most = most.min(piece.len());
            let mut piece = ReadBuf::new(&mut piece[..most]);
            ready!(Pin::new(io).poll_read(cx, &mut piece))?;
            buf.put_slice(piece.filled());
        } else {
            ready!(Pin::new(io).poll_read(cx, buf))?;
        }
        let came = &buf.filled()[before..];
        if came.is_empty() {
            self.close.saw_end();
        }
        let acknowledged = self.inbound.acknowledged_settings();
        let heads = self.inbound.heads();
        self.inbound.saw(came);
        let is_new = heads != self.inbound.heads();
        streams.owes_head(self.inbound.owes_head(), is_new);
        if !acknowledged && self.inbound.acknowledged_settings() {
            let now = streams.server.clock.now();
            streams.leaving.set_round_trip(now.since(streams.began));
        }
        Poll::Ready(Ok(()))
    }

    /// Prepares for a write of h2, which must not begin before a half-written notice is complete.
    pub(crate) fn poll_turn<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.interim.poll_whole(io, cx))?;
        self.notice.poll_turn(io, cx)
    }

    /// Writes requested interim responses, if h2 is between two frames.
    fn poll_interim<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let here = self.notice.is_between_frames() && !self.inbound.has_small_table();
        match here && !self.interim.is_idle() {
            true => self.interim.poll(io, cx),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Flushes, when h2 has handed over all its output.
    pub(crate) fn poll_flushed<T: AsyncWrite + Unpin>(
        &mut self,
        streams: &Streams,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.notice.poll_flushed(&streams.leaving, io, cx))?;
        self.poll_interim(io, cx)
    }

    /// Closes so that the client can read to the end, when h2 is done.
    pub(crate) fn poll_close<T: AsyncRead + AsyncWrite + Unpin + 'static>(
        &mut self,
        streams: &Streams,
        fin_sent: &mut bool,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.notice.poll_whole(io, cx))?;
        ready!(self.interim.poll_whole(io, cx))?;
        let acknowledged = self
            .inbound
            .pong()
            .is_some_and(|said| GOAWAY_ACKNOWLEDGED.ends_with(&said));
        self.close.begin(streams, &self.inbound, acknowledged);
        self.close
            .poll(streams, &mut self.inbound, fin_sent, io, cx)
    }
}
