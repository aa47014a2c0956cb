//! A lingering close for HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::Inbound;
use crate::serve::config::fixed::{
    HTTP2_LINGER, HTTP2_LINGER_STALL, HTTP2_LINGER_STALL_OF_A_READER,
};
use crate::serve::exchange::Streams;
use crate::serve::time::Tick;
use crate::serve::transport::held_by_kernel;

/// The maximum number of bytes that are discarded.
const BYTES: usize = 64 * 1024 * 1024;
/// The maximum number of bytes that are discarded when the close waits for none.
const BYTES_AT_HAND: usize = 256 * 1024;

/// A PING that only this close sends. A client that answers it has read everything sent before it.
const PING: [u8; 17] = [
    0, 0, 8, 6, 0, 0, 0, 0, 0, // length 8, type PING, no flags, stream 0
    b'l', b'a', b's', b't', b' ', b'o', b'n', b'e',
];

/// The close of a connection after h2's last write.
///
/// A client goes on sending while it reads: WINDOW_UPDATEs, acknowledgements. Each of these that meets a closed socket
/// is answered by a reset, and the reset drops data that is still on its way. So the write side closes first, and input
/// is discarded until the client has read to the end: until it confirms that, closes, or is silent.
///
/// If the kernel can be asked, a silence counts only once the client has acknowledged the responses; until then their
/// rest has the deadlines of a response.
#[derive(Default)]
pub(crate) struct Close {
    begun: bool,
    saw_end: bool,
    /// `true` if responses were sent whose arrival at the client is unproved.
    owed: bool,
    /// The number of written bytes of the PING.
    written: u8,
    flushed: bool,
    /// The time at which the close ends at the latest.
    limit: Tick,
    window_updates: u32,
    read: usize,
    /// The offset in the connection's output at which the last response ends.
    answered: u64,
    /// The number of response bytes that the client had acknowledged when it last was fast enough.
    mark: Option<(Tick, u64)>,
}

impl Close {
    /// Records that the client has closed its side.
    pub(crate) fn saw_end(&mut self) {
        self.saw_end = true;
    }

    /// Begins the close: from here on the connection has only this deadline, also while TLS takes its time to close.
    pub(crate) fn begin(
        &mut self,
        streams: &Streams,
        inbound: &Inbound,
        goaway_acknowledged: bool,
    ) {
        if self.begun {
            return;
        }
        self.begun = true;
        self.owed = !self.saw_end && streams.leaving.owes_proof(goaway_acknowledged);
        self.window_updates = inbound.window_updates();
        self.answered = streams.leaving.answered(streams.transport.moved());
        let now = streams.server.clock.now();
        self.limit = now.after(Some(HTTP2_LINGER));
        // A client that acknowledges is worth waiting for: it is still reading. For one that never has, the silence
        // since the last stream counts.
        let since = match streams.idle_since() {
            Tick::NEVER => now,
            _ if inbound.acknowledged_settings() => now,
            idle => idle.min(now),
        };
        let stall = match self.owed {
            true => since.after(Some(HTTP2_LINGER_STALL)),
            false => now.after(Some(HTTP2_LINGER_STALL)),
        };
        streams.leaving.set_linger(stall);
    }

    pub(crate) fn poll<T: AsyncRead + AsyncWrite + Unpin + 'static>(
        &mut self,
        streams: &Streams,
        inbound: &mut Inbound,
        fin_sent: &mut bool,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // Also while the end cannot be written yet: that may depend on the client's input.
        let sent = match *fin_sent {
            true => Poll::Ready(()),
            false => self.poll_end(io, cx)?,
        };
        *fin_sent = sent.is_ready();
        if self.poll_away(streams, inbound, io, cx).is_ready() {
            streams.leaving.set_undelivered(false);
            return Poll::Ready(Ok(()));
        }
        match sent {
            Poll::Ready(()) if !self.owed => Poll::Ready(Ok(())),
            _ => {
                self.wait_for_kernel(streams, *fin_sent, io);
                Poll::Pending
            }
        }
    }

    /// Lingers on while the kernel holds a part of the responses, if the client is fast enough.
    fn wait_for_kernel<T: 'static>(&mut self, streams: &Streams, fin_sent: bool, io: &T) {
        let (leaving, now) = (&streams.leaving, streams.server.clock.now());
        if !self.owed || now < leaving.linger_until() {
            return;
        }
        let undelivered = held_by_kernel(io).is_some_and(|held| {
            // The PING and the end of the connection do not belong to the responses.
            let own = u64::from(self.written) + u64::from(fin_sent);
            let taken = streams.transport.moved();
            let taken = taken.saturating_sub(held.saturating_sub(own));
            taken < self.answered && self.goes_on(streams, now, taken)
        });
        leaving.set_undelivered(undelivered);
        if undelivered {
            leaving.set_linger(now.after(Some(HTTP2_LINGER_STALL)));
        }
    }

    /// Returns `true` if the client, which has acknowledged `taken` bytes, is waited for: as for a response, by
    /// `write_stall` and `min_write_rate`.
    fn goes_on(&mut self, streams: &Streams, now: Tick, taken: u64) -> bool {
        let timeouts = &streams.server.timeouts;
        let (since, before) = *self.mark.get_or_insert((now, taken));
        let waited = now.since(since);
        let rate = timeouts.effective_min_write_rate();
        let due = rate.map_or(1, |rate| rate.bytes_in(waited));
        if taken.saturating_sub(before) >= due {
            self.mark = Some((now, taken));
            return true;
        }
        waited < timeouts.effective_write_stall().unwrap_or(HTTP2_LINGER)
    }

    /// Writes the PING and shuts the write side.
    fn poll_end<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.owed && !self.flushed {
            while let Some(rest @ [_, ..]) = PING.get(usize::from(self.written)..) {
                match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    length => self.written += u8::try_from(length).unwrap_or(u8::MAX),
                }
            }
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            self.flushed = true;
        }
        Pin::new(io).poll_shutdown(cx)
    }

    /// Discards input. `Ready` when there is nothing more to wait for.
    fn poll_away<T: AsyncRead + Unpin>(
        &mut self,
        streams: &Streams,
        inbound: &mut Inbound,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let most = match self.owed {
            true => BYTES,
            false => BYTES_AT_HAND,
        };
        let mut scrap = [0; 4096];
        while !self.saw_end && self.read < most {
            let mut scrap = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut scrap)) {
                Ok(()) if !scrap.filled().is_empty() => {}
                // The client has closed its side, or is gone.
                Ok(()) | Err(_) => break,
            }
            self.read += scrap.filled().len();
            inbound.saw(scrap.filled());
            if inbound.pong().is_some_and(|said| PING.ends_with(&said)) {
                break;
            }
            if self.window_updates != inbound.window_updates() {
                self.window_updates = inbound.window_updates();
                let now = streams.server.clock.now();
                let until = now
                    .after(Some(HTTP2_LINGER_STALL_OF_A_READER))
                    .min(self.limit);
                streams.leaving.set_linger(until);
            }
        }
        Poll::Ready(())
    }
}
