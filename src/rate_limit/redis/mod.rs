//! A rate limit that instances share through Redis or Valkey.
//!
//! [`RedisLimiter`] keeps the quotas where all instances see them. It is an addition to the local limiter,
//! never a condition for serving: a question that Redis does not answer within the
//! [`deadline`](RedisLimiter::deadline) is answered by the local limiter of the instance.
//!
//! ```
//! use lameduck::rate_limit::redis::RedisLimiter;
//! use std::time::Duration;
//!
//! // Redis need not be there: it is looked for with the first request.
//! let limiter = RedisLimiter::new("redis://user:password@127.0.0.1:6379/0")?
//!     .prefix("shop")
//!     .deadline(Duration::from_millis(20));
//! assert!(!limiter.is_away());
//! # Ok::<(), lameduck::rate_limit::redis::InvalidRedis>(())
//! ```
//!
//! # What is asked
//!
//! One script, which Redis runs atomically, reads the time of all quotas of a key (GCRA), and either all of
//! them admit the request or none is used up. The clock is Redis's, so that those of the instances do not
//! matter. Each quota of each key is one Redis key, `lameduck:{ip:192.0.2.1}:100/s`, that expires once the
//! quota is full again: who stays away takes no memory. How many there are at once is not bounded here, but by
//! Redis's own `maxmemory`; one that is full and evicts nothing is taken for away. Quotas that differ in anything never share a key. The
//! braces keep the quotas of a key in one slot of Redis Cluster; the connection itself is to one node (or to a
//! proxy), and follows no redirects.
//!
//! Quotas are kept exactly, in microseconds and fractions of them: `3/s` is three a second and not one every
//! 333333 µs. Time itself goes by in whole microseconds: of a quota with more than a million requests a second,
//! several come back with each. The script calls `TIME`, `GET` and `SET … PX`: Redis from 5 on, and Valkey,
//! without modules. An ACL needs `~lameduck:* +evalsha +script|load +time +get +set`.
//!
//! # When Redis is away
//!
//! * A connection that is lost opens the breaker at once; five questions in a row that got no answer within
//!   the deadline, or an error that is not about their key alone, open it too. One slow answer does not: that
//!   one question goes to the local limiter.
//! * While it is open no question is sent, and none waits. One task in the background tries to connect, after
//!   pauses of 100 ms to 5 s that double, with jitter; it closes the breaker when Redis has answered a question
//!   within the deadline. A connection that is lost within 10 s goes on with longer pauses.
//! * [`Event::RateLimitFallback`] is told when the breaker opens, [`Event::RateLimitRestored`] when it closes.
//! * A value under one of the keys that is not ours concerns that key alone: it is counted locally, for as
//!   long as the value stands there.
//! * No more than 1024 questions wait at once; what is over is asked of the local limiter.
//!
//! While Redis hangs, a question that was sent may still be counted there later: then a request was counted
//! twice, once on each side, never less than once.
//!
//! [`Event::RateLimitFallback`]: crate::events::Event::RateLimitFallback
//! [`Event::RateLimitRestored`]: crate::events::Event::RateLimitRestored

mod check;
mod connect;
mod error;
mod link;
mod script;
#[cfg(test)]
mod tests;

pub use error::InvalidRedis;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) use self::check::Check;
use self::connect::Settings;
use self::link::Link;
use self::script::Gcra;
use super::{Key, Quota};
use crate::events::Events;

/// Asks Redis or Valkey whether a request is within its quotas; see the [module](self).
///
/// Clones share one connection. It needs a tokio runtime with time and I/O enabled, from the first request on.
#[derive(Clone)]
pub struct RedisLimiter {
    link: Arc<Link>,
}

impl RedisLimiter {
    /// A limiter at `redis://[user][:password]@host[:port][/database]`, or `unix:///path[?db=n&user=u&pass=p]`.
    ///
    /// Connects with the first request, and does not fail if nobody is there. A port is 6379 by default.
    ///
    /// # Errors
    ///
    /// The URL is checked at once. The error does not show it, since there may be a password in it.
    pub fn new(url: &str) -> Result<Self, InvalidRedis> {
        let client = redis::Client::open(error::parse(url)?).map_err(error::refused)?;
        Ok(Self::with(Settings {
            client,
            deadline: Duration::from_millis(50),
            prefix: "lameduck".into(),
            events: Events::none(),
            gcra: Arc::new(Gcra::new()),
        }))
    }

    /// How long a question may take, the wait for a connection included. At least 1 ms. Default: 50 ms.
    ///
    /// As every setting, it is made before the limiter is cloned: a clone with another setting has its own
    /// connection.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self::with(Settings {
            deadline: deadline.max(Duration::from_millis(1)),
            ..self.link.settings.clone()
        })
    }

    /// What all Redis keys begin with, followed by a colon. Services with the same prefix on the same Redis
    /// share their quotas. Default: `lameduck`.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        Self::with(Settings {
            prefix: prefix.into(),
            ..self.link.settings.clone()
        })
    }

    /// Emits there when Redis is away and when it is back, besides where the rate limit emits that asks it.
    #[must_use]
    pub fn events(self, events: Events) -> Self {
        Self::with(Settings {
            events,
            ..self.link.settings.clone()
        })
    }

    /// Emits there too, over the connection that there is.
    pub(super) fn listen(&self, events: &Events) {
        self.link.listen(events);
    }

    /// Whether Redis is known to be away, and the local limiter is asked instead.
    pub fn is_away(&self) -> bool {
        self.link.is_away()
    }

    /// How many questions were left to the local limiter so far.
    pub fn fallbacks(&self) -> u64 {
        self.link.fallbacks.load(Ordering::Relaxed)
    }

    fn with(settings: Settings) -> Self {
        RedisLimiter {
            link: Link::new(settings),
        }
    }

    /// Whether `key` may make a request now; `None` when the local limiter has to say it. Nothing happens
    /// until it is polled.
    pub(super) fn check(&self, key: &Key, quotas: &[Quota]) -> Check {
        if quotas.is_empty() || self.is_away() {
            self.link.fell_back();
            return Check::local();
        }
        match self.link.in_flight.clone().try_acquire_owned() {
            Ok(permit) => {
                let settings = &self.link.settings;
                let cmd = settings.gcra.command(&settings.prefix, key, quotas);
                Check::ask(self.link.clone(), cmd, permit)
            }
            Err(_) => {
                self.link.fell_back();
                Check::local()
            }
        }
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.link.settings;
        f.debug_struct("RedisLimiter")
            .field(
                "address",
                &format_args!("{}", settings.client.get_connection_info().addr()),
            )
            .field("prefix", &settings.prefix)
            .field("deadline", &settings.deadline)
            .field("away", &self.is_away())
            .field("fallbacks", &self.fallbacks())
            .finish()
    }
}
