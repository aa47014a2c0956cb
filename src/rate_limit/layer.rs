use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::clock::Clock;
use super::limits::MAX_QUOTAS;
use super::shared::{By, Shared};
use super::store::Store;
use super::{Fields, InvalidQuota, Key, Quota, RateLimit, RateLimitHandle, WhenFull};
use crate::events::EventSink;

/// A layer that refuses requests over a quota; see the [module](super).
///
/// All services that a layer and its clones create share one count.
#[doc(alias("GovernorLayer", "throttle"))]
#[derive(Clone)]
pub struct RateLimitLayer {
    /// `None` if the layer is off.
    pub(super) shared: Option<Arc<Shared>>,
}

impl RateLimitLayer {
    const MAX_KEYS: usize = 100_000;

    /// Creates a layer that limits each client to these quotas: one, or up to 4 at once
    /// (`[Quota::per_second(20), Quota::per_hour(5_000)]`). A request passes if all of them admit it, and a refused
    /// request consumes nothing of any.
    ///
    /// A client is an address, for IPv6 its /64; see [`ipv6_prefix`](Self::ipv6_prefix), [`by_header`](Self::by_header)
    /// and [`by`](Self::by).
    ///
    /// # Errors
    /// Returns an error if a quota is invalid, if there is none, or if there are more than 4.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, InvalidQuota> {
        let quotas = quotas
            .into_iter()
            .take(MAX_QUOTAS + 1)
            .map(Quota::check)
            .collect::<Result<Arc<[Quota]>, _>>()?;
        if quotas.is_empty() || quotas.len() > MAX_QUOTAS {
            return Err(InvalidQuota::number());
        }
        let encoded = quotas
            .iter()
            .map(Quota::encoded)
            .collect::<Result<Arc<[_]>, _>>()?;
        Ok(RateLimitLayer {
            shared: Some(Arc::new(Shared {
                store: Arc::new(Store::new(&encoded, Self::MAX_KEYS)),
                quotas,
                encoded,
                clock: Clock::default(),
                by: By::Client,
                ipv6_prefix: 64,
                when_full: WhenFull::default(),
                fields: Fields::default(),
                exempt: None,
                events: EventSink::none(),
                #[cfg(feature = "redis")]
                redis: None,
            })),
        })
    }

    /// Creates a layer that limits nothing; its other settings have no effect.
    pub const fn off() -> Self {
        RateLimitLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the number of bits of an IPv6 address that identify a client. Default: 64, the smallest network that a
    /// customer gets; many get a /56 or a /48. More than 128 is 128.
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> Self {
        self.with(|shared| shared.ipv6_prefix = bits)
    }

    /// Counts by the value of a header, such as an API key's or a tenant's; the first of several lines counts. A
    /// request without it is counted by the client's address.
    ///
    /// The header must have been verified by a proxy or by a layer further out: a client that may choose its value has
    /// as many quotas as there are values.
    #[must_use]
    pub fn by_header(self, name: HeaderName) -> Self {
        self.with(|shared| shared.by = By::Header(name))
    }

    /// Counts by the key that `key` derives from the request; a request with `None` is not limited.
    #[must_use]
    pub fn by(self, key: impl Fn(&Parts) -> Option<Key> + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.by = By::Function(Arc::new(key)))
    }

    /// Sets the maximum number of tracked keys, which bounds the memory; see the [module](super#memory). Default:
    /// 100,000. 0 is taken for 1. Earlier counts are discarded.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|shared| shared.store = Arc::new(Store::new(&shared.encoded, keys)))
    }

    /// Sets the treatment of a new key when all tracked keys still count. Default: [`WhenFull::Forget`].
    #[must_use]
    pub fn when_full(self, when_full: WhenFull) -> Self {
        self.with(|shared| shared.when_full = when_full)
    }

    /// Sets the header fields that report the remaining quota. Default: [`Fields::None`]; the others cost a few
    /// allocations per request.
    #[must_use]
    pub fn fields(self, fields: Fields) -> Self {
        self.with(|shared| shared.fields = fields)
    }

    /// Exempts requests for which `exempt` returns `true`, such as health probes and metrics: they are neither counted
    /// nor refused.
    #[must_use]
    pub fn exempt(self, exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.exempt = Some(Arc::new(exempt)))
    }

    /// Emits an event for each refusal, [`Event::Refused`](crate::events::Event::Refused), and for each new key without
    /// room, [`Event::RateLimitFull`](crate::events::Event::RateLimitFull).
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        self.with(|shared| shared.events = events)
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }

    /// Reads the time from `now`, the time since any fixed moment, once per request; for tests. If it goes backwards,
    /// the limiter's time stands still until it has caught up. Default: tokio's clock, which is the system's monotonic
    /// one unless a test pauses it. Earlier counts are discarded.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.with(|shared| {
            shared.clock = Clock::Given(Arc::new(now));
            shared.store = Arc::new(Store::new(&shared.encoded, shared.store.max_keys()));
        })
    }

    /// Shares the limit with all instances that use the same Redis or Valkey. While that is slow or unreachable, each
    /// instance decides by its own count.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    #[must_use]
    pub fn redis(self, redis: super::redis::RedisLimiter) -> Self {
        self.with(|shared| shared.redis = Some(redis))
    }

    /// Returns a handle that reads the limiter's numbers. Take it after the settings: [`max_keys`](Self::max_keys) and
    /// [`clock`](Self::clock) start a new count.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle {
            store: self.shared.as_ref().map(|shared| shared.store.clone()),
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            if let Some(redis) = &shared.redis {
                redis.listen(&shared.events);
            }
        }
        RateLimit {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            Some(shared) => f.debug_tuple("RateLimitLayer").field(shared).finish(),
            None => f.write_str("RateLimitLayer(off)"),
        }
    }
}
