use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Quota;
use super::decision::Decision;

/// The header fields that report the remaining quota, in every response including refusals.
///
/// gRPC responses carry none: gRPC has no such metadata. The numbers are those of the quota nearest to exhaustion;
/// seconds are rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fields {
    /// No fields, at no cost.
    #[default]
    None,
    /// `RateLimit-Policy` and `RateLimit` of [draft-ietf-httpapi-ratelimit-headers-10][draft].
    ///
    /// `RateLimit-Policy: "100/s";q=100;w=1` lists all quotas, named by their text form: `q` requests in `w` seconds
    /// (`w` is omitted if the period is not a whole number of seconds). `RateLimit: "100/s";r=50;t=1` admits `r`
    /// requests at once, and the quota is full again after `t` seconds; with `r=0` the next request is admitted after
    /// `t` seconds, as in `Retry-After`. With a larger burst `r` can exceed `q`. If several layers limit, each appends
    /// its own: both fields are lists.
    ///
    /// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/
    RateLimit,
    /// `X-RateLimit-Limit` (the burst: the number of requests that may come at once), `X-RateLimit-Remaining` and
    /// `X-RateLimit-Reset` (seconds from now until the burst is available again; if refused, until one request is): not
    /// standard, but known to many clients. Fields that the response already has are left unchanged.
    XRateLimit,
}

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Fields {
    /// Adds the fields to the head of a response.
    pub(super) fn add_to(self, head: &mut HeaderMap, decision: &Decision, quotas: &[Quota]) {
        if self == Fields::None || is_grpc(head) {
            return;
        }
        let Some(quota) = quotas.get(decision.quota) else {
            return;
        };
        let seconds = seconds(match decision.admitted {
            true => decision.reset,
            false => decision.wait,
        });
        if self == Fields::XRateLimit {
            for (name, number) in [
                (&X_LIMIT, u64::from(quota.largest_burst())),
                (&X_REMAINING, u64::from(decision.remaining)),
                (&X_RESET, seconds),
            ] {
                if let http::header::Entry::Vacant(vacant) = head.entry(name) {
                    vacant.insert(HeaderValue::from(number));
                }
            }
            return;
        }
        let state = format!("{};r={};t={seconds}", Name(quota), decision.remaining);
        for (name, text) in [(&POLICY, policy(quotas)), (&RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                head.append(name, value);
            }
        }
    }
}

fn policy(quotas: &[Quota]) -> String {
    let mut text = String::new();
    for quota in quotas {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{};q={}", Name(quota), quota.requests());
        if quota.period().subsec_nanos() == 0 {
            let _ = write!(text, ";w={}", quota.period().as_secs());
        }
    }
    text
}

/// A quota's name as a string of RFC 9651, which is ASCII.
struct Name<'a>(&'a Quota);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.to_string().replace('µ', "u"))
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn is_grpc(head: &HeaderMap) -> bool {
    head.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.get(..16)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/grpc"))
    })
}
