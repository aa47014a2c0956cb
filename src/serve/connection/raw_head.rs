//! The raw bytes of a head that hyper could not parse, or that came only in part. They give the reason and the form of
//! the refusal, and the fields of its event.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::events::{Event, RequestInfo};
use crate::reply::{RefusalReason, ReplyFormat};
use crate::serve::exchange::Exchange;

/// The maximum number of bytes that are inspected.
const LOOKED_AT: usize = 8 * 1024;
/// The maximum length of a method and of a target in an event, in bytes.
const LONGEST: usize = 256;

/// The part of a head that has come. Nothing in it is validated.
pub(crate) struct RawHead(Bytes);

impl RawHead {
    /// Creates a raw head from these bytes, without the empty lines before it.
    pub(crate) fn new(mut read: Bytes) -> Self {
        let begins = read
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .unwrap_or(read.len());
        let _ = read.split_to(begins);
        RawHead(read)
    }

    fn request_line(&self) -> (&[u8], bool) {
        match self.0.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&self.0[..at], true),
            None => (&self.0[..], false),
        }
    }

    /// Returns the method if it is complete and plausible.
    fn method(&self) -> Option<&str> {
        let (line, _) = self.request_line();
        let method = &line[..line.iter().position(|byte| *byte == b' ')?];
        let fits = (1..=32).contains(&method.len()) && method.iter().all(u8::is_ascii_uppercase);
        std::str::from_utf8(method).ok().filter(|_| fits)
    }

    fn path(&self) -> Option<String> {
        let (line, _) = self.request_line();
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let target = words.nth(1)?;
        let path = target.split(|byte| *byte == b'?').next()?;
        let cut = &path[..path.len().min(LONGEST)];
        let mut path = String::from_utf8_lossy(cut.trim_ascii_end()).into_owned();
        if cut.len() == LONGEST {
            path.push('…');
        }
        Some(path)
    }

    /// Returns the reason for hyper's `status`, where a head has at most `limit` bytes.
    pub(crate) fn reason(&self, status: u16, limit: usize) -> RefusalReason {
        let (line, whole) = self.request_line();
        match status {
            _ if self.0.starts_with(&[0x16, 3]) => RefusalReason::TlsOnPlainPort,
            _ if line.starts_with(b"PRI ") => RefusalReason::BadPreface,
            414 => RefusalReason::TargetTooLong,
            // The request line alone exceeds the limit of the head: the target is too long.
            431 if (!whole || line.len() >= limit) && line.contains(&b' ') => {
                RefusalReason::TargetTooLong
            }
            431 => RefusalReason::HeadTooLarge,
            _ => RefusalReason::Malformed,
        }
    }

    /// Returns the form that the request asks for, as far as its head has come.
    pub(crate) fn reply_format(&self) -> ReplyFormat {
        let mut accept = HeaderMap::new();
        let head = &self.0[..self.0.len().min(LOOKED_AT)];
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let line = line.trim_ascii_end();
            if line.is_empty() {
                break;
            }
            let Some(at) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            if line[..at].eq_ignore_ascii_case(ACCEPT.as_str().as_bytes()) {
                if let Ok(value) = HeaderValue::from_bytes(line[at + 1..].trim_ascii()) {
                    accept.append(ACCEPT, value);
                }
            }
        }
        ReplyFormat::head(&Method::GET, Version::HTTP_11, &accept)
    }

    /// Returns `true` for a HEAD request, whose response has no body whatever it declares.
    pub(crate) fn is_to_head(&self) -> bool {
        self.method() == Some("HEAD")
    }

    /// Emits the refusal of this head.
    pub(crate) fn emit_refused(&self, exchange: &Exchange, reason: RefusalReason) {
        exchange.server.events.emit_with(|tell| {
            let path = self.method().and_then(|_| self.path());
            let mut request = RequestInfo::from_peer(exchange.conn.info.peer);
            request.method = self.method();
            request.path = path.as_deref();
            tell(&Event::Refused { reason, request });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(read: &'static [u8]) -> RawHead {
        RawHead::new(Bytes::from_static(read))
    }

    #[test]
    fn bad_head_gets_the_reason_for_its_refusal() {
        let long = [&b"GET /"[..], &[b'a'; 4096]].concat();
        let whole = [&long, &b" HTTP/1.1\r\nhost: a\r\n\r\n"[..]].concat();
        for (read, status, reason) in [
            (
                &b"\x16\x03\x01\x02\x00"[..],
                400,
                RefusalReason::TlsOnPlainPort,
            ),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
                400,
                RefusalReason::BadPreface,
            ),
            (b"\r\n\r\nG{T / HTTP/1.1\r\n", 400, RefusalReason::Malformed),
            (
                b"GET / HTTP/1.1\r\nx: aaaa",
                431,
                RefusalReason::HeadTooLarge,
            ),
            (&long, 431, RefusalReason::TargetTooLong),
            (&whole, 431, RefusalReason::TargetTooLong),
            (b"", 414, RefusalReason::TargetTooLong),
            (b"", 400, RefusalReason::Malformed),
            (&[0x16], 400, RefusalReason::Malformed),
            (&[b'A'; 4096], 431, RefusalReason::HeadTooLarge),
        ] {
            let raw = RawHead::new(Bytes::copy_from_slice(read));
            assert_eq!(raw.reason(status, 2048), reason, "{read:?}");
        }
    }

    #[test]
    fn only_plausible_request_lines_are_named() {
        let raw = of(b"GET /a?secret=1 x HTTP/1.1\r\n\r\n");
        assert_eq!(
            (raw.method(), raw.path().as_deref()),
            (Some("GET"), Some("/a"))
        );
        for garbage in [&b"\x16\x03 / "[..], b"get / ", b"", b"\xff\xff", b"GET"] {
            assert_eq!(of(garbage).method(), None, "{garbage:?}");
        }
        assert!(of(b"HEAD / HTTP/1.1\r\nx y\r\n\r\n").is_to_head());
    }
}
