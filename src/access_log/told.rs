use super::line::Line;
use crate::track::{End, Guard};

/// What the body ends: the line, or `None` where nothing is written.
#[derive(Debug)]
pub struct Told(pub(super) Option<Line>);

impl Guard for Told {
    fn data(&mut self, bytes: usize) {
        if let Some(line) = &mut self.0 {
            line.bytes += bytes as u64;
        }
    }

    fn end(self, how: End) {
        if let Some(line) = self.0 {
            // What drops a body while its thread unwinds is the poll of that body.
            line.end(match how {
                End::Cancelled if std::thread::panicking() => End::Panic,
                how => how,
            });
        }
    }
}
