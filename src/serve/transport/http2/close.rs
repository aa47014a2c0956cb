//! A lingering close for HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::Inbound;
use crate::serve::exchange::Streams;
use crate::serve::time::Tick;
use crate::serve::transport::held_by_kernel;

/// How long a client that goes on reading is given.
const LINGER: Duration = Duration::from_secs(30);
/// How long it may be silent.
const STALL: Duration = Duration::from_secs(1);
/// The same after a WINDOW_UPDATE: it is reading, and says so each time it has read half a window.
const STALL_OF_A_READER: Duration = Duration::from_secs(3);
/// How much of what it sends is read away.
const BYTES: usize = 64 * 1024 * 1024;
/// How much is read away where nothing is waited for.
const BYTES_AT_HAND: usize = 256 * 1024;

/// A PING that only this close sends. Whoever answers it has read all that was sent before it.
const PING: [u8; 17] = [
    0, 0, 8, 6, 0, 0, 0, 0, 0, // length 8, type PING, no flags, stream 0
    b'l', b'a', b's', b't', b' ', b'o', b'n', b'e',
];

/// Closes the connection when h2 has written its last.
///
/// A client goes on sending while it reads: WINDOW_UPDATEs, acknowledgements. Each of these that meets a closed
/// socket is answered by a reset, and the reset drops what is still on its way. So the write side closes first, and
/// what comes is read away until the client has read to the end: until it says so, closes, or is silent.
///
/// Where the kernel can be asked, a silence counts only once the client has acknowledged the answers; what is left of
/// them until then has the deadlines of a response.
#[derive(Default)]
pub(crate) struct Close {
    begun: bool,
    saw_end: bool,
    /// Answers were sent, and the client has not proved yet that it has them.
    owed: bool,
    /// How much of the PING is written.
    written: u8,
    flushed: bool,
    /// When it ends at the latest.
    limit: Tick,
    window_updates: u32,
    read: usize,
    /// After how many bytes of the connection the last answer ends.
    answered: u64,
    /// How many of them the client had acknowledged when it last was fast enough.
    mark: Option<(Tick, u64)>,
}

impl Close {
    /// The client has closed its side.
    pub(crate) fn saw_end(&mut self) {
        self.saw_end = true;
    }

    /// From here on the connection has this deadline only, also while TLS takes its time to say good-bye.
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
        self.limit = now.after(Some(LINGER));
        // A client that acknowledges is worth waiting for: it is still reading. Of one that never has, the silence
        // since the last stream counts.
        let since = match streams.idle_since() {
            Tick::NEVER => now,
            _ if inbound.acknowledged_settings() => now,
            idle => idle.min(now),
        };
        let stall = match self.owed {
            true => since.after(Some(STALL)),
            false => now.after(Some(STALL)),
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
        // Also while the end cannot be written yet: the client may have to be heard for that.
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

    /// Lingers on while the kernel holds a part of the answers, if the client is fast enough.
    fn wait_for_kernel<T: 'static>(&mut self, streams: &Streams, fin_sent: bool, io: &T) {
        let (leaving, now) = (&streams.leaving, streams.server.clock.now());
        if !self.owed || now < leaving.linger_until() {
            return;
        }
        let undelivered = held_by_kernel(io).is_some_and(|held| {
            // The PING and the end of the connection are not the answers'.
            let own = u64::from(self.written) + u64::from(fin_sent);
            let taken = streams.transport.moved();
            let taken = taken.saturating_sub(held.saturating_sub(own));
            taken < self.answered && self.goes_on(streams, now, taken)
        });
        leaving.set_undelivered(undelivered);
        if undelivered {
            leaving.set_linger(now.after(Some(STALL)));
        }
    }

    /// Whether the client, which has acknowledged so many bytes, is waited for: as for a response, by `write_stall` and
    /// `min_write_rate`.
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
        waited < timeouts.effective_write_stall().unwrap_or(LINGER)
    }

    /// Says the last words and shuts the write side.
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

    /// Reads away what comes. `Ready` when nothing more is to be waited for.
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
                let until = now.after(Some(STALL_OF_A_READER)).min(self.limit);
                streams.leaving.set_linger(until);
            }
        }
        Poll::Ready(())
    }
}
