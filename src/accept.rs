//! The `Accept` header (RFC 9110, 12.4.2 and 12.5.1): weighted media ranges, of which the most specific match applies.

use http::header::{ACCEPT, HeaderMap};

/// The weights that a request's `Accept` gives to media types, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept<'a>(&'a HeaderMap);

/// The specificity of a media range: `*/*`, `text/*`, `text/plain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Specific {
    Any,
    Type,
    Exact,
}

impl<'a> Accept<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        Accept(headers)
    }

    /// Returns the weight of a media type by its most specific matching range, with that range's specificity; `None` if
    /// no range matches. A request without `Accept` accepts everything but expresses no preference.
    pub(crate) fn weight(self, kind: &str, subtype: &str) -> Option<(Specific, u16)> {
        let lines = self.0.get_all(ACCEPT).iter();
        let ranges = lines.flat_map(|line| split(line.as_bytes(), b','));
        let matching = ranges.filter_map(|range| {
            let mut parts = split(range, b';');
            let name = parts.next()?;
            let at = name.iter().position(|byte| *byte == b'/')?;
            let (range_kind, range_subtype) = (&name[..at], &name[at + 1..]);
            let specific = match (range_kind, range_subtype) {
                (b"*", b"*") => Specific::Any,
                (same, b"*") if same.eq_ignore_ascii_case(kind.as_bytes()) => Specific::Type,
                (same, sub)
                    if same.eq_ignore_ascii_case(kind.as_bytes())
                        && sub.eq_ignore_ascii_case(subtype.as_bytes()) =>
                {
                    Specific::Exact
                }
                _ => return None,
            };
            // Of two equally specific ranges the heavier wins: parameters other than the weight are not compared.
            parts
                .find_map(quality)
                .unwrap_or(Some(1000))
                .map(|weight| (specific, weight))
        });
        matching.max()
    }
}

/// Splits at separators outside of quoted strings, and trims the white space around each part.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |&byte| {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        }
        byte == separator && !quoted
    })
    .map(<[u8]>::trim_ascii)
}

/// Parses `q=0.8` into thousandths. `Some(None)` is a malformed weight, which makes the range match nothing.
fn quality(parameter: &[u8]) -> Option<Option<u16>> {
    let value = match parameter {
        [b'q' | b'Q', b'=', value @ ..] => value,
        _ => return None,
    };
    Some(match value {
        [b'0'] | [b'0', b'.'] => Some(0),
        [b'1'] | [b'1', b'.'] => Some(1000),
        [b'1', b'.', zeros @ ..] if zeros.len() <= 3 && zeros.iter().all(|b| *b == b'0') => {
            Some(1000)
        }
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let padded = digits.iter().chain([b'0'; 3].iter()).take(3);
            Some(padded.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(lines: &[&'static str]) -> Option<(Specific, u16)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, http::HeaderValue::from_static(line));
        }
        Accept::of(&headers).weight("application", "json")
    }

    #[test]
    fn the_most_specific_range_counts_at_any_position() {
        use Specific::{Any, Exact, Type};
        for (lines, expected) in [
            (&[][..], None),
            (&["text/html"], None),
            (&["*/*"], Some((Any, 1000))),
            (&["application/*;q=0.5, */*"], Some((Type, 500))),
            (&["*/*", "Application/JSON;q=0.25"], Some((Exact, 250))),
            (&["application/json;q=0, */*"], Some((Exact, 0))),
            (&["application/json ; Q=0.1"], Some((Exact, 100))),
            (
                &["application/json;v=\"a,b;q=0\";q=0.7"],
                Some((Exact, 700)),
            ),
            (&["application/json;q=1.000"], Some((Exact, 1000))),
            (&["application/json;q=1.5, */*;q=0.1"], Some((Any, 100))),
            (&["application/json;q=0.1234"], None),
            (&["application/json;q=x"], None),
            (&["json, */json, application"], None),
        ] {
            assert_eq!(weight(lines), expected, "{lines:?}");
        }
    }
}
