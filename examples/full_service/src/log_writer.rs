//! Log lines on standard output, without ever waiting for its reader.
//!
//! Standard output of a container is a pipe. When its reader stops reading, a write to it blocks, and with it the
//! worker that logs: then the next, and soon the whole service. Here lines go to a buffer, and a thread of its own
//! writes them. Lines that do not fit are dropped, counted, and reported once the reader reads again.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// The size of the buffer; there are two, because one is written while the other is filled.
const BUFFER: usize = 1024 * 1024;

/// A writer that never waits. Clones share its buffer.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when the buffer is no longer empty.
    filled: Condvar,
    /// Signalled when everything is written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// The number of lines dropped since the last report of them.
    dropped: u64,
    /// True while bytes that have left the buffer are being written.
    writing: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    ///
    /// Fails if no thread can be started.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = Self {
            shared: shared.clone(),
        };
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || shared.write_to(output))?;
        Ok(writer)
    }

    /// Waits until everything is written, at most `at_most`: the reader may not read. Returns true if it is.
    pub fn wait_written(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let mut state = self.shared.state();
        while state.writing || !state.buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.written.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Write for LogWriter {
    /// Takes or drops the line as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        if state.buffer.len() + line.len() > BUFFER {
            state.dropped += 1;
        } else {
            state.buffer.extend_from_slice(line);
            drop(state);
            self.shared.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state();
            state.writing = false;
            if state.buffer.is_empty() {
                self.written.notify_all();
            }
            while state.buffer.is_empty() {
                let waited = self.filled.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            mem::swap(&mut state.buffer, &mut batch);
            state.writing = true;
            drop(state);

            // A reader that has gone for good must not stop the service.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            let dropped = mem::take(&mut self.state().dropped);
            if dropped > 0 {
                warn!(
                    lines = dropped,
                    "log lines were dropped: they were not read fast enough"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A reader that reads only when released.
    struct Pipe {
        read: Receiver<()>,
        out: Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.read.recv().map_err(io::Error::other)?;
            self.out.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (LogWriter, Sender<()>, Receiver<Vec<u8>>) {
        let (read, let_read) = channel();
        let (out, came) = channel();
        let pipe = Pipe {
            read: let_read,
            out,
        };
        (LogWriter::start(pipe).expect("a thread"), read, came)
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (mut writer, read, came) = pipe();
        for line in ["one\n", "two\n", "three\n"] {
            writer.write_all(line.as_bytes()).expect("never fails");
            // Whatever is written at once.
            let _ = read.send(());
        }
        assert!(writer.wait_written(LIMIT));
        let written: Vec<u8> = came.try_iter().flatten().collect();
        assert_eq!(String::from_utf8_lossy(&written), "one\ntwo\nthree\n");
    }

    #[test]
    fn unread_output_delays_nothing_and_bounds_memory() {
        let (mut writer, read, came) = pipe();
        let line = [b'x'; 1024];
        let began = Instant::now();
        for _ in 0..5_000 {
            writer.write_all(&line).expect("never fails");
        }
        assert!(began.elapsed() < LIMIT, "nothing was waited for");
        assert!(!writer.wait_written(Duration::from_millis(10)));
        let state = writer.shared.state();
        let (kept, dropped) = (state.buffer.len(), state.dropped);
        assert!(kept <= BUFFER && dropped > 2_900, "{kept} {dropped}");
        drop(state);

        for _ in 0..10 {
            let _ = read.send(());
        }
        assert!(writer.wait_written(LIMIT));
        let written: usize = came.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!(written as u64, (5_000 - dropped) * 1024, "whole lines");
        assert_eq!(writer.shared.state().dropped, 0, "reported");
    }
}
