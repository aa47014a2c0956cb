use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::clock::Clock;
use super::limits::MOST;
use super::shared::{By, Shared};
use super::store::Store;
use super::{Fields, InvalidQuota, Key, Quota, RateLimit, RateLimitHandle, WhenFull};
use crate::events::Events;

/// Refuses requests over a quota; see the [module](super).
///
/// All services that a layer and its clones make share one count.
#[derive(Clone)]
pub struct RateLimitLayer {
    /// `None`: off.
    pub(super) shared: Option<Arc<Shared>>,
}

impl RateLimitLayer {
    const MAX_KEYS: usize = 100_000;

    /// Limits each client to these quotas: one, or up to 4 at once (`[Quota::per_second(20),
    /// Quota::per_hour(5_000)]`). A request passes if all of them admit it, and one that is refused uses up
    /// nothing of any.
    ///
    /// A client is an address, an IPv6 one by its /64; see [`ipv6_prefix`](Self::ipv6_prefix),
    /// [`by_header`](Self::by_header) and [`by`](Self::by).
    ///
    /// # Errors
    /// If a quota cannot be kept, if there is none, or if there are more than 4.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, InvalidQuota> {
        let quotas = quotas
            .into_iter()
            .take(MOST + 1)
            .map(Quota::check)
            .collect::<Result<Arc<[Quota]>, _>>()?;
        if quotas.is_empty() || quotas.len() > MOST {
            return Err(InvalidQuota::number());
        }
        let spelt = quotas
            .iter()
            .map(Quota::spelt)
            .collect::<Result<Arc<[_]>, _>>()?;
        Ok(RateLimitLayer {
            shared: Some(Arc::new(Shared {
                store: Arc::new(Store::new(&spelt, Self::MAX_KEYS)),
                quotas,
                spelt,
                clock: Clock::default(),
                by: By::Client,
                ipv6_prefix: 64,
                when_full: WhenFull::default(),
                fields: Fields::default(),
                exempt: None,
                events: Events::none(),
                #[cfg(feature = "redis")]
                redis: None,
            })),
        })
    }

    /// A layer that limits nothing; its other settings have no effect.
    pub const fn off() -> Self {
        RateLimitLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// How many bits of an IPv6 address are the client. Default: 64, the smallest network that a customer
    /// gets; many get a /56 or a /48. More than 128 is 128.
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> Self {
        self.with(|shared| shared.ipv6_prefix = bits)
    }

    /// Counts by the value of a header, an API key's or a tenant's; of several lines by the first. A request
    /// without it is counted by the client's address.
    ///
    /// The header must have been checked before, by a proxy or by a layer further out: a client that may
    /// choose its value has as many quotas as there are values.
    #[must_use]
    pub fn by_header(self, name: HeaderName) -> Self {
        self.with(|shared| shared.by = By::Header(name))
    }

    /// Counts by whatever `key` makes of the request; `None` is not limited.
    #[must_use]
    pub fn by(self, key: impl Fn(&Parts) -> Option<Key> + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.by = By::Function(Arc::new(key)))
    }

    /// How many keys are kept at most, which bounds the memory; see the [module](super#memory). Default:
    /// 100,000. 0 is taken for 1. What was counted so far is forgotten.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|shared| shared.store = Arc::new(Store::new(&shared.spelt, keys)))
    }

    /// What becomes of a new key when all that are kept still count. Default: [`WhenFull::Forget`].
    #[must_use]
    pub fn when_full(self, when_full: WhenFull) -> Self {
        self.with(|shared| shared.when_full = when_full)
    }

    /// Whether answers tell how much is left. Default: [`Fields::None`]; the others cost a few allocations
    /// for each request.
    #[must_use]
    pub fn fields(self, fields: Fields) -> Self {
        self.with(|shared| shared.fields = fields)
    }

    /// Requests for which `exempt` says `true` are neither counted nor refused: health probes, metrics.
    #[must_use]
    pub fn exempt(self, exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.exempt = Some(Arc::new(exempt)))
    }

    /// Tells each refusal, [`Event::Refused`](crate::events::Event::Refused), and each time that there was
    /// no room for a new key, [`Event::RateLimitFull`](crate::events::Event::RateLimitFull).
    #[must_use]
    pub fn events(self, events: Events) -> Self {
        self.with(|shared| shared.events = events)
    }

    pub(crate) fn also(self, events: &Events) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }

    /// Reads the time from `now`, the time since any fixed moment, once for each request; for tests. If it
    /// goes backwards, the limiter's time stands still until it has caught up. Default: tokio's clock, which
    /// is the system's monotonic one unless a test pauses it. What was counted so far is forgotten.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.with(|shared| {
            shared.clock = Clock::Given(Arc::new(now));
            shared.store = Arc::new(Store::new(&shared.spelt, shared.store.max_keys()));
        })
    }

    /// Shares the limit with all instances that ask the same Redis or Valkey. While it is slow or away, each
    /// decides by what it has counted itself since.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    #[must_use]
    pub fn redis(self, redis: super::redis::RedisLimiter) -> Self {
        self.with(|shared| shared.redis = Some(redis))
    }

    /// The limiter's numbers. To be taken after the settings: [`max_keys`](Self::max_keys) and
    /// [`clock`](Self::clock) begin a new count.
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
