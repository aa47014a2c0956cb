//! The entries of a header's lines, from last to first.

use http::header::{GetAll, HeaderValue};

/// Iterates over all entries of all lines from right to left, including empty ones, and trims the white space around
/// them.
pub(super) fn rev<'a>(
    lines: &GetAll<'a, HeaderValue>,
    quotes: bool,
) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().rev().flat_map(move |line| Entries {
        rest: Some(line.as_bytes()),
        quotes,
    })
}

/// The entries of one line.
struct Entries<'a> {
    rest: Option<&'a [u8]>,
    /// `true` if a comma in a quoted string does not separate.
    quotes: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.rest.take()?;
        let comma = if self.quotes {
            last_comma(line)
        } else {
            line.iter().rposition(|b| *b == b',')
        };
        let entry = match comma {
            Some(at) => {
                self.rest = Some(&line[..at]);
                &line[at + 1..]
            }
            None => line,
        };
        Some(trim(entry))
    }
}

/// Returns the last comma outside of a quoted string, matching quotes from the right.
///
/// A client can send `for="1.1.1.1`, to which a proxy appends `, for=9.9.9.9`. Parsed from the left, the quote would
/// swallow the proxy's entry. Parsed from the right, a well-formed entry is independent of the text before it: its
/// quotes are its own, and a quote is escaped if an odd number of backslashes directly precedes it, which cannot extend
/// beyond the `=` of its pair. Well-formed lines parse the same from both ends.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut at = line.len();
    while at > 0 {
        at -= 1;
        match line[at] {
            b',' if !quoted => return Some(at),
            b'"' => quoted = !quoted || is_escaped(&line[..at]),
            _ => {}
        }
    }
    None
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// Trims spaces and tabs (OWS of RFC 9110, 5.6.3), and nothing else.
pub(super) fn trim(mut entry: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = entry {
        entry = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = entry {
        entry = rest;
    }
    entry
}
