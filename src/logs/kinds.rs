use tracing::Level;

use super::meter::Meter;
use crate::conn_info::Verdict;
use crate::events::Timeout;
use crate::reply::Reason;

pub(super) const REASONS: [Reason; 11] = [
    Reason::Draining,
    Reason::HandlerTimeout,
    Reason::BodyTooSlow,
    Reason::HeadTooSlow,
    Reason::NoHost,
    Reason::Internal,
    Reason::RequestTimeout,
    Reason::GatewayTimeout,
    Reason::BodyTooLarge,
    Reason::RateLimited,
    Reason::ClientUnknown,
];

pub(super) const TIMEOUTS: [Timeout; 6] = [
    Timeout::ReadHeader,
    Timeout::Read,
    Timeout::Write,
    Timeout::Idle,
    Timeout::ReadStall,
    Timeout::WriteStall,
];

/// The flagged ones.
pub(super) const VERDICTS: [Verdict; 5] = [
    Verdict::AllTrusted,
    Verdict::Unreadable,
    Verdict::TooMany,
    Verdict::TooFew,
    Verdict::Unknown,
];

/// A kind of lines that are bounded together.
#[derive(Debug)]
pub(super) struct Kind {
    pub event: &'static str,
    /// The reason, kind or verdict; empty where the event is all of it.
    pub name: &'static str,
    pub level: Level,
    pub meter: Meter,
}

/// All of them, so that their memory is what it is.
#[derive(Debug)]
pub(super) struct Kinds {
    refused: [Kind; REASONS.len()],
    timeouts: [Kind; TIMEOUTS.len()],
    addresses: [Kind; VERDICTS.len()],
    pub service_error: Kind,
    pub accept_error: Kind,
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

/// What the service does to its clients, or what they brought upon themselves.
pub(super) fn level_of(reason: Reason) -> Level {
    match reason {
        Reason::Draining
        | Reason::HandlerTimeout
        | Reason::RequestTimeout
        | Reason::GatewayTimeout => Level::INFO,
        // It is told as `service_error` already.
        Reason::Internal => Level::DEBUG,
        Reason::BodyTooSlow
        | Reason::HeadTooSlow
        | Reason::NoHost
        | Reason::BodyTooLarge
        | Reason::RateLimited
        | Reason::ClientUnknown => Level::DEBUG,
    }
}

impl Kinds {
    pub fn new() -> Self {
        Kinds {
            refused: REASONS.map(|reason| kind("refused", reason.as_str(), level_of(reason))),
            timeouts: TIMEOUTS.map(|which| kind("timeout", which.as_str(), Level::DEBUG)),
            addresses: VERDICTS
                .map(|verdict| kind("client_address", verdict.as_str(), Level::DEBUG)),
            service_error: kind("service_error", "", Level::ERROR),
            accept_error: kind("accept_error", "", Level::WARN),
            fallback: kind("rate_limit_fallback", "", Level::WARN),
            restored: kind("rate_limit_restored", "", Level::INFO),
            full: kind("rate_limit_full", "", Level::WARN),
            readiness: kind("readiness", "", Level::INFO),
            malformed: kind("grpc_timeout_malformed", "", Level::DEBUG),
        }
    }

    pub fn refused(&self, reason: Reason) -> Option<&Kind> {
        find(&REASONS, &self.refused, reason)
    }

    pub fn timeout(&self, which: Timeout) -> Option<&Kind> {
        find(&TIMEOUTS, &self.timeouts, which)
    }

    /// `None` if it is not flagged.
    pub fn address(&self, verdict: Verdict) -> Option<&Kind> {
        find(&VERDICTS, &self.addresses, verdict)
    }

    pub fn all(&self) -> impl Iterator<Item = &Kind> {
        let lists = self.refused.iter().chain(&self.timeouts);
        lists.chain(&self.addresses).chain([
            &self.service_error,
            &self.accept_error,
            &self.fallback,
            &self.restored,
            &self.full,
            &self.readiness,
            &self.malformed,
        ])
    }
}

fn find<'a, T: Copy + PartialEq>(names: &[T], kinds: &'a [Kind], name: T) -> Option<&'a Kind> {
    let at = names.iter().position(|&each| each == name)?;
    kinds.get(at)
}
