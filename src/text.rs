//! Foreign text made safe for a line: it cannot end the line, close a quote, or send sequences to a terminal.

use std::borrow::Cow;
#[cfg(feature = "tracing")]
use std::error::Error;
use std::fmt::{self, Write};

/// The mark of truncation. It is not ASCII, so it never occurs in a path written by [`path`].
const ELLIPSIS: char = '…';

/// Returns a path or a method, limited to `max` bytes plus the ellipsis, in visible ASCII. Other bytes, `"` and `\`
/// are percent-encoded, as the sender should have done (RFC 3986, 2.1). Allocates only if the text changes.
pub(crate) fn path(path: &str, max: usize) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if path.len() <= max && path.bytes().all(is_plain) {
        return Cow::Borrowed(path);
    }
    let mut fit = String::with_capacity(max + ELLIPSIS.len_utf8());
    for byte in path.bytes() {
        let width = if is_plain(byte) { 1 } else { 3 };
        if fit.len() + width > max {
            fit.push(ELLIPSIS);
            break;
        }
        if is_plain(byte) {
            fit.push(char::from(byte));
        } else {
            let hex = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            fit.extend(['%', hex(byte >> 4), hex(byte & 0xf)]);
        }
    }
    Cow::Owned(fit)
}

/// Returns the text in one line of at most `max` bytes plus the ellipsis.
pub(crate) fn line(text: impl fmt::Display, max: usize) -> String {
    let mut line = Line::new(max);
    // The only possible error is that the line is full.
    let _ = write!(line, "{text}");
    line.text
}

/// Returns the first name that is there twice.
#[cfg(feature = "serve")]
pub(crate) fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// Returns an error and its sources in one line.
#[cfg(feature = "tracing")]
pub(crate) fn error(error: &(dyn Error + 'static), max: usize) -> String {
    let mut line = Line::new(max);
    let _ = write!(line, "{error}");
    let mut source = error.source();
    // Bounded by a count as well: an error can be its own source and print nothing.
    for _ in 0..16 {
        let Some(cause) = source.filter(|_| !line.full) else {
            break;
        };
        // Many errors repeat the text of their source.
        let said = self::line(cause, max);
        if !line.text.ends_with(&said) {
            let _ = write!(line, ": {said}");
        }
        source = cause.source();
    }
    line.text
}

struct Line {
    text: String,
    max: usize,
    full: bool,
}

impl Line {
    fn new(max: usize) -> Self {
        Line {
            text: String::new(),
            max,
            full: false,
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        // A `Display` may continue after an error.
        if self.full {
            return Err(fmt::Error);
        }
        for char in more.chars() {
            let char = match char {
                '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
                hidden if hidden.is_control() || steers(hidden) => char::REPLACEMENT_CHARACTER,
                plain => plain,
            };
            if self.text.len() + char.len_utf8() > self.max {
                self.text.push(ELLIPSIS);
                self.full = true;
                return Err(fmt::Error);
            }
            self.text.push(char);
        }
        Ok(())
    }
}

/// Returns `true` if the character is invisible or changes the direction in which a line is shown.
fn steers(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
