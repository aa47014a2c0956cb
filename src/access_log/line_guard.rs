use http::HeaderMap;

use super::line::Line;
use crate::track::{BodyEnd, Guard};

/// A guard that writes the line when the body ends; holds `None` if no line is written.
#[derive(Debug, Default)]
// Named by a public type that is to be used by its alias alone.
#[allow(unnameable_types)]
pub struct LineGuard(pub(crate) Option<Line>);

impl Guard for LineGuard {
    fn data(&mut self, bytes: usize) {
        if let Some(line) = &mut self.0 {
            line.bytes += bytes as u64;
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(line) = &mut self.0 {
            line.read_status(trailers);
        }
    }

    fn end(self, how: BodyEnd) {
        if let Some(line) = self.0 {
            // A body dropped while its thread unwinds is dropped by its own poll.
            line.end(match how {
                BodyEnd::Cancelled if std::thread::panicking() => BodyEnd::Panic,
                how => how,
            });
        }
    }
}
