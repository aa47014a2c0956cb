//! A parser for the `for` of one element of `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{MAX_LEN, is_port};

/// Returns the address in an element's `for`; `None` if there is no address (also for `unknown` and obfuscated names),
/// or if any part of the element violates RFC 7239, 4.
pub(super) fn read(element: &[u8]) -> Option<IpAddr> {
    let mut rest = Some(element);
    let mut seen = [false; KNOWN.len()];
    let mut found = None;
    while let Some(pair) = rest {
        // The grammar allows a `;` with nothing before or after it.
        if let Some(after) = pair.strip_prefix(b";") {
            rest = Some(after);
            continue;
        }
        if pair.is_empty() {
            break;
        }
        let equals = token_len(pair);
        let (name, value) = pair.split_at(equals);
        let value = value.strip_prefix(b"=").filter(|_| !name.is_empty())?;
        let mut text = Text::new();
        let len = match value.strip_prefix(b"\"") {
            Some(quoted) => 1 + unquote(quoted, &mut text)?,
            None => {
                let len = token_len(value);
                value[..len].iter().for_each(|b| text.push(*b));
                if len == 0 {
                    return None;
                }
                len
            }
        };
        for (known, seen) in KNOWN.iter().zip(&mut seen) {
            // "Each parameter MUST NOT occur more than once."
            if name.eq_ignore_ascii_case(known) && std::mem::replace(seen, true) {
                return None;
            }
        }
        if name.eq_ignore_ascii_case(b"for") {
            found = text.as_str().and_then(node);
        }
        rest = match &value[len..] {
            [] => None,
            [b';', after @ ..] => Some(after),
            _ => return None,
        };
    }
    found
}

const KNOWN: [&[u8]; 4] = [b"for", b"by", b"host", b"proto"];

/// Parses a node (RFC 7239, 6): an IPv4 address or an IPv6 address in brackets, with an optional port, which may be
/// obfuscated.
fn node(node: &str) -> Option<IpAddr> {
    let (ip, port): (IpAddr, _) = match node.strip_prefix('[') {
        Some(inside) => {
            let (ip, after) = inside.split_once(']')?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':')?),
            };
            (ip.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let (ip, port) = match node.split_once(':') {
                Some((ip, port)) => (ip, Some(port)),
                None => (node, None),
            };
            (ip.parse::<Ipv4Addr>().ok()?.into(), port)
        }
    };
    match port {
        Some(port) if !is_port(port) && !is_obfuscated(port) => None,
        _ => Some(ip.to_canonical()),
    }
}

fn is_obfuscated(port: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    matches!(port.strip_prefix('_'), Some(name) if !name.is_empty() && name.bytes().all(allowed))
}

/// Parses a quoted string after its opening quote (RFC 9110, 5.6.4), and returns its length including the closing
/// quote. Rejects bytes beyond ASCII.
fn unquote(quoted: &[u8], text: &mut Text) -> Option<usize> {
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let byte = match byte {
            b'"' => return Some(at + 1),
            b'\\' => bytes.next()?.1,
            byte => byte,
        };
        if !matches!(byte, b'\t' | b' '..=b'~') {
            return None;
        }
        text.push(*byte);
    }
    None
}

fn token_len(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|b| !is_token(*b));
    end.unwrap_or(bytes.len())
}

/// Returns `true` for a byte of a token (RFC 9110, 5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A value without quotes and escapes, on the stack; only the length is kept beyond that of an address.
struct Text {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Text {
    fn new() -> Self {
        Text {
            bytes: [0; MAX_LEN],
            len: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.len)?).ok()
    }
}
