//! Numbers as header values without allocation: slices of one static table.

use std::time::Duration;

use http::HeaderValue;

/// The number of zeros that follow the three digits of a row: up to 999 with nine zeros, 31,000 years in seconds.
const ZEROS: usize = 9;
const ROW: usize = 3 + ZEROS;

/// The rows `"000000000000"`, `"001000000000"`, … `"999000000000"`: a number of three digits and trailing zeros is a
/// slice of its row.
static ROWS: &str = match std::str::from_utf8(&DIGITS) {
    Ok(rows) => rows,
    Err(_) => "",
};
static DIGITS: [u8; 1000 * ROW] = rows();

const fn rows() -> [u8; 1000 * ROW] {
    let mut rows = [b'0'; 1000 * ROW];
    let mut number = 0;
    while number < 1000 {
        rows[number * ROW] = b'0' + (number / 100) as u8;
        rows[number * ROW + 1] = b'0' + (number / 10 % 10) as u8;
        rows[number * ROW + 2] = b'0' + (number % 10) as u8;
        number += 1;
    }
    rows
}

/// Returns the number, rounded up to three significant digits; the maximum is 999 with nine zeros.
fn at_least(number: u64) -> HeaderValue {
    let mut leading = number;
    let mut zeros = 0;
    while leading > 999 && zeros < ZEROS {
        leading = leading.div_ceil(10);
        zeros += 1;
    }
    let leading = leading.min(999) as usize;
    let skipped = match leading {
        100.. => 0,
        10.. => 1,
        _ => 2,
    };
    let row = leading * ROW;
    let text = ROWS.get(row + skipped..row + 3 + zeros);
    HeaderValue::from_static(text.unwrap_or("1"))
}

// Rounded up in both units: a client that returns a moment too early is refused again.

/// Returns whole seconds, never 0.
pub(super) fn seconds(delay: Duration) -> HeaderValue {
    let more = u64::from(delay.subsec_nanos() > 0);
    at_least(delay.as_secs().saturating_add(more).max(1))
}

/// Returns whole milliseconds, never 0.
pub(super) fn millis(delay: Duration) -> HeaderValue {
    let more = u64::from(delay.subsec_nanos().div_ceil(1_000_000));
    let whole = delay.as_secs().saturating_mul(1000);
    at_least(whole.saturating_add(more).max(1))
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn small_numbers_are_exact_and_large_ones_are_never_less() {
        for number in (0..=999).chain([1_000, 9_990, 86_400, 999_000_000_000]) {
            assert_eq!(at_least(number), number.to_string().as_str());
        }
        for (number, expected) in [
            (1_001, "1010"),
            (9_991, "10000"),
            (12_345, "12400"),
            (99_999, "100000"),
            (u64::MAX, "999000000000"),
        ] {
            assert_eq!(at_least(number), expected);
        }
    }
}
