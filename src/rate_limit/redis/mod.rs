//! A rate limit shared between instances through Redis or Valkey.
//!
//! [`RedisLimiter`] keeps the quotas where all instances see them. It supplements the local limiter and is never a
//! condition for serving: if Redis does not answer a query within the [`deadline`](RedisLimiter::deadline), the
//! instance's local limiter decides.
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
//! # Algorithm
//!
//! One script, which Redis runs atomically, reads the times of all quotas of a key (GCRA). Either all of them admit the
//! request, or none is charged. The clock is Redis's, so that those of the instances do not matter. Each quota of each
//! key is one Redis key, `lameduck:{ip:192.0.2.1}:100/s`, which expires once the quota is full again, so that inactive
//! clients take no memory. The number of keys is bounded only by Redis's own `maxmemory`; a Redis that is full and
//! evicts nothing counts as away. Different quotas never share a key. The braces keep the quotas of a key in one slot
//! of Redis Cluster; the connection itself goes to one node (or to a proxy) and follows no redirects.
//!
//! Quotas are exact, in microseconds and fractions of them: `3/s` is three per second, not one every 333333 µs. Time
//! advances in whole microseconds: a quota of more than a million requests per second regains several with each. The
//! script calls `TIME`, `GET` and `SET … PX`: Redis from 5 on, and Valkey, without modules. An ACL needs
//! `~lameduck:* +evalsha +script|load +time +get +set`.
//!
//! # Outages
//!
//! * A lost connection opens the breaker at once. So do five consecutive queries without an answer within the deadline,
//!   or with an error that does not concern their key alone. A single slow answer does not: only that query goes to the
//!   local limiter.
//! * While the breaker is open, no query is sent and none waits. One background task tries to connect, after pauses
//!   that double from 100 ms to 5 s, with jitter. It closes the breaker once Redis has answered a query within the
//!   deadline. If the connection is lost again within 10 s, the pauses keep growing.
//! * [`Event::RateLimitFallback`] is emitted when the breaker opens, [`Event::RateLimitRestored`] when it closes.
//! * A foreign value under one of the keys affects that key alone: it is counted locally for as long as the value
//!   exists.
//! * At most 1024 queries wait at once; further ones go to the local limiter.
//!
//! While Redis hangs, a query that was sent may still be counted there later. Such a request is counted twice, once on
//! each side, but never less than once.
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
use crate::events::EventSink;

/// A client that checks quotas in Redis or Valkey; see the [module](self).
///
/// Clones share one connection. From the first request on it requires a tokio runtime with time and I/O enabled.
#[derive(Clone)]
pub struct RedisLimiter {
    link: Arc<Link>,
}

impl RedisLimiter {
    /// Creates a limiter at `redis://[user][:password]@host[:port][/database]`, or `unix:///path[?db=n&user=u&pass=p]`.
    ///
    /// It connects with the first request, and does not fail if Redis is unreachable. The default port is 6379.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is invalid. The error does not show the URL, which may contain a password.
    pub fn new(url: &str) -> Result<Self, InvalidRedis> {
        let client = redis::Client::open(error::parse(url)?).map_err(error::refused)?;
        Ok(Self::with(Settings {
            client,
            deadline: Duration::from_millis(50),
            prefix: "lameduck".into(),
            events: EventSink::none(),
            gcra: Arc::new(Gcra::new()),
        }))
    }

    /// Sets the deadline of a query, including the wait for a connection. At least 1 ms. Default: 50 ms.
    ///
    /// Like every setting, it must precede cloning: a clone with another setting has its own connection.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self::with(Settings {
            deadline: deadline.max(Duration::from_millis(1)),
            ..self.link.settings.clone()
        })
    }

    /// Sets the prefix of all Redis keys, which is followed by a colon. Services with the same prefix on the same Redis
    /// share their quotas. Default: `lameduck`.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        Self::with(Settings {
            prefix: prefix.into(),
            ..self.link.settings.clone()
        })
    }

    /// Emits an event to `events` when Redis goes away and when it is back, in addition to the sinks of the rate limits
    /// that use this limiter.
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        Self::with(Settings {
            events,
            ..self.link.settings.clone()
        })
    }

    /// Adds a sink to the shared connection's events.
    pub(super) fn listen(&self, events: &EventSink) {
        self.link.listen(events);
    }

    /// Returns `true` if Redis is known to be away, so that the local limiter decides.
    pub fn is_away(&self) -> bool {
        self.link.is_away()
    }

    /// Returns the number of queries that were left to the local limiter.
    pub fn fallbacks(&self) -> u64 {
        self.link.fallbacks.load(Ordering::Relaxed)
    }

    fn with(settings: Settings) -> Self {
        RedisLimiter {
            link: Link::new(settings),
        }
    }

    /// Checks whether `key` may make a request now; yields `None` if the local limiter must decide. Lazy: nothing
    /// happens until the future is polled.
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
