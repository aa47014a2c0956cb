use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// A number of requests per period, with a limit on how many of them may come at once.
///
/// ```
/// use lameduck::rate_limit::Quota;
///
/// let quota = Quota::per_second(100).burst(200);
/// assert_eq!(quota, "100/s burst 200".parse().unwrap());
/// let a_day = Quota::per_day(10_000); // all of them may come at once
/// ```
///
/// The quota is refilled evenly (GCRA): `per_second(100)` returns one request every 10 ms, not a hundred at the
/// beginning of each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    requests: u32,
    period: Duration,
    burst: u32,
}

impl Quota {
    /// Creates a quota of `requests` per second.
    pub const fn per_second(requests: u32) -> Self {
        Self::per(requests, Duration::from_secs(1))
    }

    /// Creates a quota of `requests` per minute.
    pub const fn per_minute(requests: u32) -> Self {
        Self::per(requests, Duration::from_secs(60))
    }

    /// Creates a quota of `requests` per hour.
    pub const fn per_hour(requests: u32) -> Self {
        Self::per(requests, Duration::from_secs(3600))
    }

    /// Creates a quota of `requests` per day.
    pub const fn per_day(requests: u32) -> Self {
        Self::per(requests, Duration::from_secs(86_400))
    }

    /// Creates a quota of `requests` per `period`; all of them may come at once, unless [`burst`](Self::burst) limits
    /// them.
    ///
    /// Invalid values (no requests, no time, more than one request per nanosecond, a period over a year) are rejected
    /// with [`InvalidQuota`] where the quota is used.
    pub const fn per(requests: u32, period: Duration) -> Self {
        Quota {
            requests,
            period,
            burst: requests,
        }
    }

    /// Sets the number of requests that may come at once after a long pause. Default: the number per period.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Returns the number of requests per period.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// Returns the length of a period.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Returns the number of requests that may come at once.
    pub const fn largest_burst(&self) -> u32 {
        self.burst
    }

    /// Returns the time until one request is returned, rounded up to a nanosecond, so that the quota is never exceeded.
    pub(crate) fn interval(&self) -> Duration {
        let whole = self.period / self.requests.max(1);
        match whole * self.requests.max(1) < self.period {
            true => whole + Duration::from_nanos(1),
            false => whole,
        }
    }

    /// Converts to governor's type.
    pub(super) fn encoded(&self) -> Result<governor::Quota, InvalidQuota> {
        let burst = NonZeroU32::new(self.burst);
        let quota = governor::Quota::with_period(self.interval());
        match (quota, burst) {
            (Some(quota), Some(burst)) => Ok(quota.allow_burst(burst)),
            // `check` reports this earlier, and with a better message.
            _ => Err(self.invalid("it admits no requests")),
        }
    }

    fn invalid(&self, wrong: &'static str) -> InvalidQuota {
        InvalidQuota {
            what: Some(self.to_string()),
            wrong,
        }
    }

    /// Validates the quota.
    pub(crate) fn check(self) -> Result<Self, InvalidQuota> {
        const YEAR: Duration = Duration::from_secs(366 * 86_400);
        let wrong = if self.requests == 0 {
            "it admits no requests; omit the layer, or refuse the requests where they are routed"
        } else if self.burst == 0 {
            "a burst of 0 admits no requests; the minimum is 1"
        } else if self.period.is_zero() {
            "the period is zero; the minimum is a nanosecond per request"
        } else if self.period > YEAR {
            "the period is longer than a year"
        } else if (self.period / self.requests).is_zero() {
            "more than one request per nanosecond is no limit"
        } else if self
            .interval()
            .checked_mul(self.burst)
            .is_none_or(|full| full > 10 * YEAR)
        {
            "a burst of that size takes more than ten years to refill"
        } else {
            return Ok(self);
        };
        Err(self.invalid(wrong))
    }
}

/// Yields this quota, so that one can be passed where several are accepted.
impl IntoIterator for Quota {
    type Item = Quota;
    type IntoIter = std::iter::Once<Quota>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

/// Writes the form that [`FromStr`] reads, `100/s burst 200`. A period that is not one of its units is written as Rust
/// writes it, `5/1.5s`, which [`FromStr`] does not read.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.requests)?;
        match UNITS
            .iter()
            .find(|(_, seconds)| self.period == Duration::from_secs(*seconds))
        {
            Some((unit, _)) => f.write_str(unit)?,
            None => write!(f, "{:?}", self.period)?,
        }
        if self.burst != self.requests {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// Parses `100/s`, `100/s burst 200`; the units are `s`, `m`, `h` and `d`.
impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, InvalidQuota> {
        let wrong = |wrong| InvalidQuota {
            what: Some(text.to_owned()),
            wrong,
        };
        let mut words = text.split_ascii_whitespace();
        let rate = words.next().unwrap_or_default();
        let (requests, unit) = rate
            .split_once('/')
            .ok_or(wrong("expected \"100/s\" or \"100/s burst 200\""))?;
        let requests = number(requests).ok_or(wrong(
            "the part before \"/\" is not a whole number of requests",
        ))?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(wrong("the unit after \"/\" must be s, m, h or d"))?;
        let mut quota = Quota::per(requests, Duration::from_secs(*seconds));
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some("burst"), Some(burst), None) => {
                quota = quota.burst(number(burst).ok_or(wrong("the burst is not a whole number"))?);
            }
            _ => {
                return Err(wrong("only \"burst\" and a number may follow the rate"));
            }
        }
        quota.check()
    }
}

/// Parses digits only: `parse` alone would accept a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The error returned for an invalid quota, or for none or too many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidQuota {
    /// The quota; `None` if the number of quotas is wrong.
    what: Option<String>,
    wrong: &'static str,
}

impl InvalidQuota {
    /// Creates the error for no quota or too many.
    pub(super) fn number() -> Self {
        InvalidQuota {
            what: None,
            wrong: "a rate limit takes 1 to 4 quotas; use `RateLimitLayer::off()` for none",
        }
    }
}

impl fmt::Display for InvalidQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Some(what) => write!(f, "invalid quota \"{what}\": {}", self.wrong),
            None => f.write_str(self.wrong),
        }
    }
}

impl std::error::Error for InvalidQuota {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for text in ["100/s", "100/s burst 200", "1/m", "5/h burst 1", "10000/d"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        assert_eq!("100/s  burst 100".parse(), Ok(Quota::per_second(100)));
    }

    /// If rounded down, 600 million a second would be a billion.
    #[test]
    fn an_interval_never_gives_back_more_than_the_quota_has() {
        for quota in [
            Quota::per_second(3),
            Quota::per_second(600_000_000),
            Quota::per_second(999_999_999),
            Quota::per_minute(7),
            Quota::per(1, Duration::from_nanos(1)),
        ] {
            let quota = quota.check().unwrap();
            assert!(
                quota.interval() * quota.requests() >= quota.period(),
                "{quota:?}"
            );
            let less = quota.interval() - Duration::from_nanos(1);
            assert!(
                less * quota.requests() < quota.period(),
                "no more than needed: {quota:?}"
            );
        }
        assert_eq!(Quota::per_second(100).interval(), Duration::from_millis(10));
    }

    #[test]
    fn an_invalid_quota_is_refused_with_a_remedy() {
        for (text, expected) in [
            ("", "expected \"100/s\""),
            ("100", "expected \"100/s\""),
            ("+1/s", "whole number"),
            ("/s", "whole number"),
            ("1.5/s", "whole number"),
            ("99999999999/s", "whole number"),
            ("100/sec", "s, m, h or d"),
            ("100/s 200", "only \"burst\""),
            ("100/s burst", "only \"burst\""),
            ("100/s burst x", "not a whole number"),
            ("100/s burst 1 2", "only \"burst\""),
            ("0/s", "admits no requests"),
            ("1/s burst 0", "the minimum is 1"),
            ("1/d burst 4000000000", "ten years"),
        ] {
            let error = text.parse::<Quota>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Quota::per(1, Duration::ZERO).check().is_err());
        assert!(
            Quota::per(u32::MAX, Duration::from_secs(1))
                .check()
                .is_err()
        );
        assert!(
            Quota::per(1, Duration::from_secs(400 * 86_400))
                .check()
                .is_err()
        );
    }
}
