//! Durations as people write them in deployment files: `5s`, `500ms`, `2m`, `1m30s`.

use std::time::Duration;

/// Units from large to small: parts must come in this order, each at most once.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration. The error completes a sentence that begins with the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut units_left = UNITS.as_slice();

    while !rest.is_empty() {
        let (number, after) = split_leading(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_leading(after, |c| c.is_ascii_alphabetic());
        rest = after;

        if number.is_empty() || (unit.is_empty() && !rest.is_empty()) {
            return Err("is not a duration".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("has no unit after {number}"));
        }
        let Some(position) = units_left.iter().position(|(name, _)| *name == unit) else {
            return Err(match UNITS.iter().any(|(name, _)| *name == unit) {
                true => "has its units out of order, or one of them twice".to_owned(),
                false => format!("has an unknown unit, {unit:?}"),
            });
        };
        let (_, unit_millis) = units_left[position];
        units_left = &units_left[position + 1..];

        millis = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_millis))
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| "is far too long".to_owned())?;
    }
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Duration::from_millis(millis))
}

fn split_leading(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1s500ms", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, wrong) in [
            ("", "is empty"),
            ("5", "has no unit"),
            ("5x", "unknown unit"),
            ("5S", "unknown unit"),
            ("-5s", "is not a duration"),
            ("1.5s", "is not a duration"),
            ("5 s", "is not a duration"),
            ("s", "is not a duration"),
            ("30s1m", "out of order"),
            ("1s1s", "out of order"),
            ("99999999999999999999s", "far too long"),
            ("9999999999999999999h", "far too long"),
            ("5ß", "is not a duration"),
        ] {
            let text = parse(text).expect_err(text);
            assert!(text.contains(wrong), "{text:?}: {text}");
        }
    }
}
