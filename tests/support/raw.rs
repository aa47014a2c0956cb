use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Answer, LIMIT, Stream, answers, within};

/// A client that sends given bytes and sees how the connection ends.
pub struct Raw {
    stream: Stream,
    /// Bytes that were read and not yet consumed.
    buffer: Vec<u8>,
    mark: Instant,
}

/// The way in which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Fin,
    Reset,
    StillOpen,
}

/// The bytes until a connection ended, and how and when it ended.
#[derive(Clone, Debug)]
pub struct Ending {
    pub bytes: Vec<u8>,
    pub how: How,
    /// The time since the mark.
    pub at: Duration,
}

impl Ending {
    /// Returns the bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Returns the answers in it.
    pub fn answers(&self) -> Vec<Answer> {
        answers(&self.bytes)
    }

    /// Returns the only answer in it.
    pub fn answer(&self) -> Answer {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "one answer in {:?}", self.text());
        answers.remove(0)
    }
}

impl Raw {
    /// Connects; the mark is now.
    pub async fn connect(addr: SocketAddr) -> Raw {
        let stream = within(LIMIT, "a connection", TcpStream::connect(addr)).await;
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Raw::over(stream)
    }

    /// Makes a client over an open connection; the mark is now.
    pub fn over(stream: TcpStream) -> Raw {
        Raw::on(Stream::Tcp(stream))
    }

    /// Makes a client as [`over`](Self::over) does, in memory too.
    pub fn on(stream: Stream) -> Raw {
        Raw {
            stream,
            buffer: Vec::new(),
            mark: Instant::now(),
        }
    }

    /// Counts times from now on.
    pub fn mark(&mut self) {
        self.mark = Instant::now();
    }

    /// Returns the time since the mark.
    pub fn elapsed(&self) -> Duration {
        self.mark.elapsed()
    }

    /// Waits until `at` since the mark.
    pub async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep_until(self.mark + at).await;
    }

    /// Sends all of `bytes`; panics if the connection is gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the bytes are sent");
    }

    /// Sends as [`send`](Self::send) does, where the server may have closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sent = self.stream.write_all(bytes.as_ref());
        within(LIMIT, "room to send", sent).await
    }

    /// Closes the sending side.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("a half-close");
    }

    /// Returns the socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.tcp()
    }

    /// Returns the socket itself; bytes read and not yet consumed are lost.
    pub fn into_stream(self) -> TcpStream {
        match self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Memory(_) => panic!("a connection in memory has no socket"),
        }
    }

    /// Reads everything until the connection ends, for at most [`LIMIT`] from now.
    pub async fn read_until_close(&mut self) -> Ending {
        self.read_until_close_for(LIMIT).await
    }

    /// Reads everything until the connection ends, for at most `limit` from now.
    pub async fn read_until_close_for(&mut self, limit: Duration) -> Ending {
        let until = Instant::now() + limit;
        loop {
            if let Err(how) = self.read_more(until).await {
                return self.ending(how);
            }
        }
    }

    /// Sends `bytes` one at a time, one `every` so often, until all are sent or the connection ends; then reads as
    /// [`read_until_close`](Self::read_until_close) does.
    pub async fn drip(&mut self, bytes: impl AsRef<[u8]>, every: Duration) -> Ending {
        for byte in bytes.as_ref() {
            if self.try_send([*byte]).await.is_err() {
                break;
            }
            let until = Instant::now() + every;
            loop {
                match self.read_more(until).await {
                    Ok(()) => {}
                    Err(How::StillOpen) => break,
                    Err(how) => return self.ending(how),
                }
            }
        }
        self.read_until_close().await
    }

    /// Reads the next answer, or how the connection ended before it was complete.
    pub async fn try_read_response(&mut self) -> Result<Answer, Ending> {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some((answer, length)) = Answer::parse(&self.buffer, false) {
                self.buffer.drain(..length);
                return Ok(answer);
            }
            match self.read_more(until).await {
                Ok(()) => {}
                Err(How::Fin) => {
                    return match Answer::parse(&self.buffer, true) {
                        Some((answer, length)) if answer.complete => {
                            self.buffer.drain(..length);
                            Ok(answer)
                        }
                        _ => Err(self.ending(How::Fin)),
                    };
                }
                Err(how) => return Err(self.ending(how)),
            }
        }
    }

    /// Reads the next answer.
    pub async fn read_response(&mut self) -> Answer {
        match self.try_read_response().await {
            Ok(answer) => answer,
            Err(ending) => panic!(
                "no answer: {:?} at {:?} after {:?}",
                ending.how,
                ending.at,
                ending.text()
            ),
        }
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.read_response().await
    }

    fn ending(&mut self, how: How) -> Ending {
        Ending {
            bytes: std::mem::take(&mut self.buffer),
            how,
            at: self.elapsed(),
        }
    }

    async fn read_more(&mut self, until: Instant) -> Result<(), How> {
        let read = self.stream.read_buf(&mut self.buffer);
        match tokio::time::timeout_at(until, read).await {
            Err(_) => Err(How::StillOpen),
            Ok(Ok(0)) => Err(How::Fin),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(How::Reset),
        }
    }
}
