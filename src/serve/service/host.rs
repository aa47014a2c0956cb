//! `uri-host [ ":" port ]`: the value of `Host`, of `:authority`, and the authority of a request target
//! (RFC 9110, 7.2; RFC 3986, 3.2.2).

use std::net::Ipv6Addr;

/// A host and its port, as a request names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort<'a> {
    name: &'a [u8],
    port: &'a [u8],
}

impl<'a> HostPort<'a> {
    /// Parses a host. Returns `None` unless `value` is a registered name, an IPv4 address or an IP literal in brackets,
    /// with a decimal port or none. Userinfo has no place in a request (RFC 9110, 4.2.4).
    #[inline]
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        // The form of most hosts, decided at once: a name, and no port.
        if value.iter().all(|byte| NAME[usize::from(*byte)]) {
            return Some(HostPort {
                name: value,
                port: &[],
            });
        }
        Self::parse_slowly(value)
    }

    fn parse_slowly(value: &'a [u8]) -> Option<Self> {
        let end = match value.first() {
            Some(b'[') => literal(value)?,
            _ => name(value)?,
        };
        let (name, rest) = value.split_at(end);
        let port = match rest {
            [] => rest,
            [b':', port @ ..] => port,
            _ => return None,
        };
        if name.is_empty() && !rest.is_empty() {
            // A port of no host: RFC 9110, 4.2.1 has no such authority.
            return None;
        }
        let host = HostPort { name, port };
        (port.is_empty() || host.port().is_some()).then_some(host)
    }

    /// Returns `true` if it names no host: `Host:` without a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_empty()
    }

    /// Returns the port, if one is named.
    pub(crate) fn port(&self) -> Option<u16> {
        if self.port.is_empty() {
            return None;
        }
        self.port.iter().try_fold(0_u16, |port, digit| {
            let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
            port.checked_mul(10)?.checked_add(digit)
        })
    }

    /// Returns `true` if both name the same host and the same port. A port that only one of them names must be the
    /// scheme's; if the scheme has none, `default_port` is `None` and any port matches.
    pub(crate) fn same_as(&self, other: &HostPort<'_>, default_port: Option<u16>) -> bool {
        let same_port = match (self.port(), other.port()) {
            (Some(one), Some(two)) => one == two,
            (Some(named), None) | (None, Some(named)) => default_port.is_none_or(|it| it == named),
            (None, None) => true,
        };
        same_port && self.name.eq_ignore_ascii_case(other.name)
    }
}

/// The bytes of a registered name, except `%`: unreserved and sub-delims (RFC 3986, 2).
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

/// Returns the length of the name at the beginning of `value`; `None` if a `%` in it encodes nothing.
fn name(value: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        if NAME[usize::from(*byte)] {
            at += 1;
        } else if *byte == b'%' {
            let encoded = value.get(at + 1..at + 3)?;
            if !encoded.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            at += 3;
        } else {
            break;
        }
    }
    Some(at)
}

/// Returns the length of the IP literal at the beginning of `value`; `None` if it is invalid, or has a zone, which has
/// a meaning on one machine only (RFC 6874, 1).
fn literal(value: &[u8]) -> Option<usize> {
    let end = value.iter().position(|byte| *byte == b']')?;
    let inside = std::str::from_utf8(&value[1..end]).ok()?;
    let valid = inside.parse::<Ipv6Addr>().is_ok() || is_future(inside);
    valid.then_some(end + 1)
}

/// Matches `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_future(inside: &str) -> bool {
    let Some((version, address)) = inside.split_once('.') else {
        return false;
    };
    let Some(version) = version.strip_prefix(['v', 'V']) else {
        return false;
    };
    let fits = |byte: u8| NAME[usize::from(byte)] || byte == b':';
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::super::host::HostPort;

    fn valid(value: &[u8]) -> bool {
        HostPort::parse(value).is_some()
    }

    #[test]
    fn hosts_follow_the_grammar() {
        for good in [
            "",
            "a",
            "a:80",
            "a:",
            "A-b_c.~!$&'()*+,;=",
            "%41b",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "[::ffff:127.0.0.1]:65535",
            "[v1F.a:b]",
            "a:00080",
        ] {
            assert!(valid(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "user@a",
            "user:x@a:80",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "a\tb",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:80:80",
            ":80",
            ":",
            "[::1",
            "::1]",
            "::1",
            "[::1]x",
            "[::1]80",
            "[]",
            "[a]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[vg.a]",
            "[v1.]",
            "[v1.[]",
            "%4",
            "%zz",
            "a%",
            "\"",
            "a\\b",
            "<a>",
            "{a}",
            "a|b",
            "a^b",
            "a`b",
            "http://a",
            "a,b:80,c:80",
        ] {
            assert!(!valid(bad.as_bytes()), "{bad:?}");
        }
        for byte in (0x80..=0xff).chain([0, 0x7f]) {
            assert!(!valid(&[b'a', byte]), "{byte:#x}");
        }
    }

    #[test]
    fn hosts_are_compared_without_case_and_with_the_scheme_s_port() {
        let same = |one: &str, two: &str, port| {
            let (one, two) = (one.as_bytes(), two.as_bytes());
            HostPort::parse(one)
                .zip(HostPort::parse(two))
                .is_some_and(|(one, two)| one.same_as(&two, port) && two.same_as(&one, port))
        };
        assert!(same("a.example", "A.Example:80", Some(80)));
        assert!(same("a:080", "a:80", Some(443)));
        assert!(same("a:", "a", Some(80)));
        assert!(same("a:81", "a", None));
        for (one, two) in [
            ("a", "b"),
            ("a", "a:81"),
            ("a:80", "a:81"),
            ("a", "a."),
            ("", "a"),
        ] {
            assert!(!same(one, two, Some(80)), "{one:?} {two:?}");
        }
    }
}
