use std::array::from_fn;

use tracing::Level;

use super::meter::Meter;
use crate::conn_info::Verdict;
use crate::events::Timeout;
use crate::reply::Reason;

/// A kind of line with a rate bound of its own.
#[derive(Debug)]
pub(super) struct Kind {
    pub event: &'static str,
    /// The reason, kind or verdict; empty if the event has none.
    pub name: &'static str,
    pub level: Level,
    pub meter: Meter,
}

/// All kinds, allocated up front so that their memory is constant.
#[derive(Debug)]
pub(super) struct Kinds {
    refused: [Kind; Reason::ALL.len()],
    timeouts: [Kind; Timeout::ALL.len()],
    /// Unused for verdicts that are not flagged, which are not logged.
    addresses: [Kind; Verdict::ALL.len()],
    pub service_error: Kind,
    pub accept_error: Kind,
    pub panicked: Kind,
    pub worker_ended: Kind,
    pub misconfigured: Kind,
    pub client_gone: Kind,
    pub fallback: Kind,
    pub restored: Kind,
    pub full: Kind,
    pub readiness: Kind,
    pub malformed: Kind,
}

fn kind(event: &'static str, name: &'static str, level: Level) -> Kind {
    Kind {
        event,
        name,
        level,
        meter: Meter::default(),
    }
}

/// Returns INFO for what the service does to its clients, DEBUG for what clients bring upon themselves.
pub(super) fn level_of(reason: Reason) -> Level {
    match reason {
        Reason::Draining
        | Reason::HandlerTimeout
        | Reason::RequestTimeout
        | Reason::GatewayTimeout => Level::INFO,
        // Already logged as `service_error`.
        Reason::Internal => Level::DEBUG,
        Reason::BodyTooSlow
        | Reason::HeadTooSlow
        | Reason::NoHost
        | Reason::Malformed
        | Reason::HeadTooLarge
        | Reason::TargetTooLong
        | Reason::TlsOnPlainPort
        | Reason::BadPreface
        | Reason::Http2Error
        | Reason::BadHost
        | Reason::BadTarget
        | Reason::BadFraming
        | Reason::UnknownTransferCoding
        | Reason::BodyTooLarge
        | Reason::RateLimited
        | Reason::ClientUnknown => Level::DEBUG,
    }
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Kinds {
            refused: from_fn(|at| {
                let reason = Reason::ALL[at];
                kind("refused", reason.as_str(), level_of(reason))
            }),
            timeouts: from_fn(|at| kind("timeout", Timeout::ALL[at].as_str(), Level::DEBUG)),
            addresses: from_fn(|at| {
                kind("client_address", Verdict::ALL[at].as_str(), Level::DEBUG)
            }),
            service_error: kind("service_error", "", Level::ERROR),
            accept_error: kind("accept_error", "", Level::WARN),
            panicked: kind("panicked", "", Level::ERROR),
            worker_ended: kind("worker_ended", "", Level::ERROR),
            misconfigured: kind("misconfigured", "", Level::WARN),
            client_gone: kind("client_gone", "", Level::DEBUG),
            fallback: kind("rate_limit_fallback", "", Level::WARN),
            restored: kind("rate_limit_restored", "", Level::INFO),
            full: kind("rate_limit_full", "", Level::WARN),
            readiness: kind("readiness", "", Level::INFO),
            malformed: kind("grpc_timeout_malformed", "", Level::DEBUG),
        }
    }

    pub(crate) fn refused(&self, reason: Reason) -> Option<&Kind> {
        self.refused.get(reason as usize)
    }

    pub(crate) fn timeout(&self, which: Timeout) -> Option<&Kind> {
        self.timeouts.get(which as usize)
    }

    /// Returns `None` if the verdict is not flagged.
    pub(crate) fn address(&self, verdict: Verdict) -> Option<&Kind> {
        self.addresses
            .get(verdict as usize)
            .filter(|_| verdict.is_flagged())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Kind> {
        let lists = self.refused.iter().chain(&self.timeouts);
        lists.chain(&self.addresses).chain([
            &self.service_error,
            &self.accept_error,
            &self.panicked,
            &self.worker_ended,
            &self.misconfigured,
            &self.client_gone,
            &self.fallback,
            &self.restored,
            &self.full,
            &self.readiness,
            &self.malformed,
        ])
    }
}
