//! `grpc-timeout`, as in the gRPC over HTTP/2 specification.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The client's `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Within(Duration),
    Malformed,
}

/// Reads it. Two of them count as malformed: the intended one is unknown.
pub(super) fn said(headers: &HeaderMap) -> Said {
    let mut all = headers.get_all(GRPC_TIMEOUT).iter();
    match (all.next(), all.next()) {
        (None, _) => Said::Nothing,
        (Some(value), None) => match parse(value.as_bytes()) {
            Some(time) => Said::Within(time),
            None => Said::Malformed,
        },
        (Some(_), Some(_)) => Said::Malformed,
    }
}

/// Parses 1 to 8 digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // No overflow: at most 8 digits, and the largest number of seconds is 99,999,999 * 3600.
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_up_to_eight_digits() {
        for (said, time) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("8n", Duration::from_nanos(8)),
            ("0S", Duration::ZERO),
            ("00000005m", Duration::from_millis(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(said.as_bytes()), Some(time), "{said}");
        }
    }

    #[test]
    fn malformed_values_are_ignored() {
        for said in [
            "",
            "S",
            "5",
            "123456789S",
            "000000001S",
            "-1S",
            "+1S",
            "1.5S",
            "1 S",
            " 1S",
            "1S ",
            "1s",
            "1h",
            "1N",
            "1U",
            "1ms",
            "1SS",
            "0x1S",
            "S1",
            "1S,2S",
            "\u{0661}S",
            "1\u{b5}",
        ] {
            assert_eq!(parse(said.as_bytes()), None, "{said:?}");
        }
    }

    #[test]
    fn two_are_malformed_even_when_they_agree() {
        let mut headers = HeaderMap::new();
        assert_eq!(super::said(&headers), Said::Nothing);
        headers.append("grpc-timeout", "1S".parse().unwrap());
        assert_eq!(super::said(&headers), Said::Within(Duration::from_secs(1)));
        headers.append("grpc-timeout", "1S".parse().unwrap());
        assert_eq!(super::said(&headers), Said::Malformed);
    }
}
