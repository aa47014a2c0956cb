//! A hand-written JSON writer: every user would have to build a JSON library.

use std::fmt::{self, Display, Write};
use std::time::Duration;

/// A document under construction. Commas are inserted automatically: a value is followed by one, an opening bracket or
/// a colon is not, and no string ends in either.
#[derive(Default)]
pub(crate) struct Json {
    out: String,
}

impl Json {
    /// Creates a document with this capacity in bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Json {
            out: String::with_capacity(bytes),
        }
    }

    /// Appends the document to `before`, which is not JSON.
    #[cfg(feature = "status")]
    pub(crate) fn after(before: &str, bytes: usize) -> Self {
        let mut json = Json::with_capacity(before.len() + bytes);
        json.out.push_str(before);
        json
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn separate(&mut self) {
        // The space ends the text that precedes the document.
        if !matches!(
            self.out.as_bytes().last(),
            None | Some(b'{' | b'[' | b':' | b' ')
        ) {
            self.out.push(',');
        }
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push('{');
        fill(self);
        self.out.push('}');
    }

    pub(crate) fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push('[');
        fill(self);
        self.out.push(']');
    }

    /// Writes the name of the next value.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.out.push(':');
        self
    }

    pub(crate) fn text(&mut self, text: impl Display) {
        self.separate();
        self.out.push('"');
        // Writing to a string does not fail; a `Display` that fails is truncated.
        let _ = write!(Escaped(&mut self.out), "{text}");
        self.out.push('"');
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.separate();
        let _ = write!(self.out, "{number}");
    }

    pub(crate) fn bool(&mut self, is: bool) {
        self.separate();
        self.out.push_str(if is { "true" } else { "false" });
    }

    /// Writes the value, or `null`.
    #[cfg(feature = "status")]
    pub(crate) fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => {
                self.separate();
                self.out.push_str("null");
            }
        }
    }
}

/// A writer that escapes the quote, the backslash and everything below U+0020 (RFC 8259, section 7). Everything else
/// passes unchanged: the status page assigns it to `textContent`.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        // Bytes below 0x80 are whole characters in UTF-8, so the text can be split at them.
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        while let Some(at) = text.as_bytes().iter().position(special) {
            self.0.push_str(&text[..at]);
            match text.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                control => write!(self.0, "\\u{control:04x}")?,
            }
            text = &text[at + 1..];
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Returns the duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
