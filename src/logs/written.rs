//! The output of a real subscriber, as text and as JSON.

use std::io;
use std::sync::Arc;

use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::sync::Lock;

#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Lock<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Captures this thread's lines up to this level as text, until the guard is dropped.
    pub fn text(max_level: Level) -> (Self, DefaultGuard) {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(max_level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (written, tracing::subscriber::set_default(subscriber))
    }

    /// Captures this thread's lines up to this level as JSON, until the guard is dropped.
    pub fn json(max_level: Level) -> (Self, DefaultGuard) {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(max_level)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (written, tracing::subscriber::set_default(subscriber))
    }

    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
    }

    /// Takes the lines; each must be a JSON object of its own.
    pub fn take_json(&self) -> Vec<Value> {
        let text = self.take();
        let parse = |line| serde_json::from_str(line).unwrap();
        text.split_terminator('\n').map(parse).collect()
    }
}
