//! JSON, written as it goes.

use std::fmt::{self, Display, Write};

/// A document in the making. Commas come by themselves: a value is followed by one, an opening bracket
/// or a colon is not, and no string ends in either.
#[derive(Default)]
pub(super) struct Json {
    out: String,
}

impl Json {
    /// Continues `out`, which is no JSON yet.
    pub fn after(out: &str) -> Self {
        let mut json = Json {
            out: String::with_capacity(4 * 1024),
        };
        json.out.push_str(out);
        json
    }

    pub fn finish(self) -> String {
        self.out
    }

    fn separate(&mut self) {
        // A space: the end of what stands before the document.
        if !matches!(
            self.out.as_bytes().last(),
            None | Some(b'{' | b'[' | b':' | b' ')
        ) {
            self.out.push(',');
        }
    }

    pub fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push('{');
        fill(self);
        self.out.push('}');
    }

    pub fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push('[');
        fill(self);
        self.out.push(']');
    }

    /// The name of the value that is written next.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.out.push(':');
        self
    }

    pub fn text(&mut self, text: impl Display) {
        self.separate();
        self.out.push('"');
        // Writing to a string does not fail; a `Display` that does is cut short.
        let _ = write!(Escaped(&mut self.out), "{text}");
        self.out.push('"');
    }

    pub fn number(&mut self, number: u64) {
        self.separate();
        let _ = write!(self.out, "{number}");
    }

    pub fn bool(&mut self, is: bool) {
        self.separate();
        self.out.push_str(if is { "true" } else { "false" });
    }

    /// The value, or `null`.
    pub fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => {
                self.separate();
                self.out.push_str("null");
            }
        }
    }
}

/// RFC 8259, section 7. What it lets stand in a string stands: the page gives it to `textContent`.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        // Bytes below 0x80 are characters by themselves, so that it can be cut at them.
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        while let Some(at) = text.as_bytes().iter().position(special) {
            self.0.push_str(&text[..at]);
            match text.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                control => write!(self.0, "\\u{control:04x}")?,
            }
            text = &text[at + 1..];
        }
        self.0.push_str(text);
        Ok(())
    }
}
