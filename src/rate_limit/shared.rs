use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, Request, Response};

use super::clock::Clock;
use super::decision::Decision;
use super::store::Store;
use super::{Fields, Key, Quota, WhenFull};
use crate::conn_info::client_of;
use crate::events::{Event, EventSink, RequestInfo};
use crate::reply::{RefusalReason, Reply, ReplyFormat};

pub(super) type QuotaReport = (Arc<Shared>, Decision);

type KeyOf = dyn Fn(&Parts) -> Option<Key> + Send + Sync;
type Exempt = dyn Fn(&Parts) -> bool + Send + Sync;

/// The state shared by all services of a layer.
#[derive(Clone)]
pub(super) struct Shared {
    pub quotas: Arc<[Quota]>,
    pub encoded: Arc<[governor::Quota]>,
    pub store: Arc<Store>,
    pub clock: Clock,
    pub by: By,
    pub ipv6_prefix: u8,
    pub when_full: WhenFull,
    pub fields: Fields,
    pub exempt: Option<Arc<Exempt>>,
    pub events: EventSink,
    #[cfg(feature = "redis")]
    pub redis: Option<super::redis::RedisLimiter>,
}

/// The source of keys.
#[derive(Clone)]
pub(super) enum By {
    Client,
    Header(HeaderName),
    Function(Arc<KeyOf>),
}

impl Shared {
    /// Returns `true` if a user's function needs the whole head.
    pub(super) fn needs_parts(&self) -> bool {
        self.exempt.is_some() || matches!(self.by, By::Function(_))
    }

    /// Returns the key of a request; `None` if it is not limited.
    pub(super) fn key_of(&self, parts: &Parts) -> Option<Key> {
        if self.exempt.as_ref().is_some_and(|exempt| exempt(parts)) {
            return None;
        }
        match &self.by {
            By::Function(key_of) => key_of(parts),
            _ => Some(self.plain_key(&parts.headers, &parts.extensions)),
        }
    }

    /// Returns the key where no function is involved.
    pub(super) fn plain_key(&self, headers: &HeaderMap, extensions: &Extensions) -> Key {
        if let By::Header(name) = &self.by {
            if let Some(value) = headers.get(name) {
                return Key::bytes(value.as_bytes());
            }
        }
        match client_of(extensions) {
            Some(address) => Key::ip(address, self.ipv6_prefix),
            None => Key::UNKNOWN,
        }
    }

    /// Decides locally, by this process's own count.
    pub(super) fn decide(&self, key: &Key, now: u64) -> Decision {
        let outcome = self.store.take(key, now, self.when_full);
        if outcome.full {
            self.events.emit(|| Event::RateLimitFull);
        }
        outcome.decision
    }

    /// Returns the refusal, built in the refused request's own header map, which it takes.
    pub(super) fn refuse<B>(
        &self,
        decision: &Decision,
        request: &mut Request<B>,
    ) -> Response<Bytes> {
        let format = ReplyFormat::of(request);
        let reason = RefusalReason::RateLimited;
        self.store.refused.fetch_add(1, Ordering::Relaxed);
        self.events.emit(|| Event::Refused {
            reason,
            request: RequestInfo::from_head(
                request.method(),
                request.uri(),
                request.headers(),
                request.extensions(),
            ),
        });
        let headers = std::mem::take(request.headers_mut());
        let reply = Reply::new(reason).retry_after(decision.wait);
        let mut response = reply.answer(format, headers);
        self.add_fields(response.headers_mut(), decision);
        response
    }

    /// Returns the content of the response's fields; `None` by default, which costs nothing.
    pub(super) fn report(self: &Arc<Self>, decision: Decision) -> Option<QuotaReport> {
        (self.fields != Fields::None).then(|| (self.clone(), decision))
    }

    pub(super) fn add_fields(&self, head: &mut HeaderMap, decision: &Decision) {
        self.fields.add_to(head, decision, &self.quotas);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("quotas", &self.quotas)
            .field("by", &self.by)
            .field("max_keys", &self.store.max_keys())
            .field("when_full", &self.when_full)
            .field("fields", &self.fields)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Client => f.write_str("client"),
            By::Header(name) => write!(f, "header {name}"),
            By::Function(_) => f.write_str("function"),
        }
    }
}
