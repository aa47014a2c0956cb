//! Lines on standard error, for what has no other reader.

use std::io::Write;

/// Writes a line to standard error. Best effort: there is no place left to report that it fails, and `eprintln!` panics
/// where the reader is gone.
pub(crate) fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
