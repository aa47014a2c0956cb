use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// A Redis URL that cannot be used, and why. Never shows the URL, for there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRedis {
    wrong: String,
}

impl fmt::Display for InvalidRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Redis URL cannot be used: {}", self.wrong)
    }
}

impl std::error::Error for InvalidRedis {}

pub(super) fn parse(url: &str) -> Result<ConnectionInfo, InvalidRedis> {
    let wrong = |wrong: &str| InvalidRedis {
        wrong: wrong.to_owned(),
    };
    // What redis says about a URL may quote parts of it: it is told in words of our own.
    const FORM: &str = "it has to be as \"redis://user:password@host:6379/0\" or \"unix:///path?db=0\"; \
                        in a password, characters as / # ? @ : % are percent-encoded";
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
        return Err(wrong("the number of a database is not negative"));
    }
    if matches!(info.addr(), ConnectionAddr::Tcp(host, _) if host.is_empty()) {
        return Err(wrong(FORM));
    }
    Ok(info)
}

/// What the client said to a URL that was read; it does not quote it.
pub(super) fn refused(error: redis::RedisError) -> InvalidRedis {
    InvalidRedis {
        wrong: error.to_string(),
    }
}

/// Redis took too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow(pub(super) Duration);

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from Redis within {:?}", self.0)
    }
}

impl std::error::Error for Slow {}
