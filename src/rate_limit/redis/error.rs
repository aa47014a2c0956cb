use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// The error returned for an unusable Redis URL. It never shows the URL, which may contain a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRedis {
    wrong: String,
}

impl fmt::Display for InvalidRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid Redis URL: {}", self.wrong)
    }
}

impl std::error::Error for InvalidRedis {}

pub(super) fn parse(url: &str) -> Result<ConnectionInfo, InvalidRedis> {
    let wrong = |wrong: &str| InvalidRedis {
        wrong: wrong.to_owned(),
    };
    // The redis crate's messages may quote parts of the URL, so these are our own.
    const FORM: &str = "expected \"redis://user:password@host:6379/0\" or \"unix:///path?db=0\"; \
                        in a password, characters such as / # ? @ : % must be percent-encoded";
    const TLS: &str = "TLS is not built in; enable the feature \"tokio-rustls-comp\" of the crate \
                       \"redis\", in the version that lameduck uses";
    let info = url.into_connection_info().map_err(|_| {
        let scheme = url.split(':').next().unwrap_or_default();
        wrong(match scheme {
            "rediss" | "valkeys" => TLS,
            _ => FORM,
        })
    })?;
    if !info.addr().is_supported() {
        return Err(wrong(match info.addr() {
            ConnectionAddr::Unix(_) => "this system has no Unix sockets",
            _ => TLS,
        }));
    }
    if info.redis_settings().db() < 0 {
        return Err(wrong("the database number must not be negative"));
    }
    if matches!(info.addr(), ConnectionAddr::Tcp(host, _) if host.is_empty()) {
        return Err(wrong(FORM));
    }
    Ok(info)
}

/// Wraps the client's error about a parsed URL, which does not quote it.
pub(super) fn refused(error: redis::RedisError) -> InvalidRedis {
    InvalidRedis {
        wrong: error.to_string(),
    }
}

/// The error of a Redis that took too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow(pub(super) Duration);

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from Redis within {:?}", self.0)
    }
}

impl std::error::Error for Slow {}
