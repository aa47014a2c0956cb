//! Detection of a client that leaves while its HTTP/1 request is being served.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::{Mode, ServeIo};
use crate::serve::config::HalfClose;

/// The number of bytes read at once in a look for the client's end.
const LOOK: usize = 512;
/// The number of bytes of the next requests that are read ahead while one is being served: an end behind them is not
/// seen.
const READ_AHEAD: usize = 4096;

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> ServeIo<T> {
    /// Looks for the client's end. Called when hyper has nothing left to write and the request is still being served:
    /// hyper then reads only if it waits for the request's body.
    pub(crate) fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Mode::Http1(exchange, kept) = &mut self.mode else {
            return Ok(());
        };
        if !exchange.is_served() {
            return Ok(());
        }
        if exchange.client_gone() {
            // The handler has seen it as an error of the body, and went on.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !self.fin_seen {
            let reading = std::mem::take(&mut kept.reading);
            if !reading && !exchange.waits_for_body() {
                self.look(cx)?;
            }
        }
        if self.fin_seen {
            self.probe(cx)?;
        }
        Ok(())
    }

    /// Detects the end of the client's input, or a reset, without taking a byte from hyper.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Mode::Http1(exchange, kept) = &mut self.mode else {
            return Ok(());
        };
        // Only a little of a body that the handler does not read: the client is to feel the backpressure.
        let most = if exchange.body_open() {
            LOOK
        } else {
            READ_AHEAD
        };
        while self.ahead.len() < most {
            let mut scratch = [MaybeUninit::uninit(); LOOK];
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    exchange.failed(&error);
                    return Err(error);
                }
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    self.fin_seen = true;
                    kept.linger.saw_end();
                    break;
                }
                Poll::Ready(Ok(())) => {
                    let mut ahead = BytesMut::from(&self.ahead[..]);
                    ahead.extend_from_slice(buf.filled());
                    self.ahead = ahead.freeze();
                }
            }
        }
        Ok(())
    }

    /// Probes if a client that sends no more is gone.
    fn probe(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Mode::Http1(exchange, kept) = &mut self.mode else {
            return Ok(());
        };
        match exchange.server.limits.half_close {
            HalfClose::Answer => return Ok(()),
            HalfClose::Cancel => {
                exchange.client_left();
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            HalfClose::Probe => {}
        }
        if !kept.watch.is_due(exchange) {
            return Ok(());
        }
        let mut scratch = [MaybeUninit::uninit(); 1];
        let mut buf = ReadBuf::uninit(&mut scratch);
        let mut seen = match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        };
        if let (Ok(()), Some(ahead)) = (&seen, kept.watch.ahead(exchange)) {
            seen = match Pin::new(&mut self.io).poll_write(cx, ahead.bytes()) {
                Poll::Ready(Ok(count)) => {
                    kept.watch.wrote_ahead(ahead, count);
                    Ok(())
                }
                Poll::Ready(Err(error)) => Err(error),
                // There is no room: the output that the client has not taken yet serves as a probe as well.
                Poll::Pending => Ok(()),
            };
        }
        // Some transports buffer output until a flush.
        if let (Ok(()), Poll::Ready(Err(error))) = (&seen, Pin::new(&mut self.io).poll_flush(cx)) {
            seen = Err(error);
        }
        seen.inspect_err(|error| exchange.failed(error))
    }

    /// Skips hyper's output that is on the wire already.
    pub(crate) fn skip_written(&mut self, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let Mode::Http1(_, kept) = &mut self.mode else {
            return None;
        };
        let prefix = kept.watch.prefix();
        if !prefix.is_owed() || bytes.is_empty() {
            return None;
        }
        let skipped = prefix.skip_written(bytes);
        if skipped.is_err() {
            // The bytes that the client has received begin no response.
            self.reset_on_drop();
        }
        Some(Poll::Ready(skipped))
    }
}
