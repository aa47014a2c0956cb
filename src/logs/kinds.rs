use std::array::from_fn;

use tracing::Level;

use super::meter::Meter;
use crate::conn_info::ClientIpSource;
use crate::events::TimeoutKind;
use crate::reply::RefusalReason;

/// A kind of line with a rate bound of its own.
#[derive(Debug)]
pub(super) struct Kind {
    pub event: &'static str,
    /// The reason, kind or source; empty if the event has none.
    pub name: &'static str,
    pub level: Level,
    pub meter: Meter,
}

/// All kinds, allocated up front so that their memory is constant.
#[derive(Debug)]
pub(super) struct Kinds {
    refused: [Kind; RefusalReason::ALL.len()],
    timeouts: [Kind; TimeoutKind::ALL.len()],
    /// Unused for sources that are not flagged, which are not logged.
    addresses: [Kind; ClientIpSource::ALL.len()],
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
    pub check_failed: Kind,
    pub malformed: Kind,
}

impl Kind {
    /// Writes how many lines of this kind were left out, if there were any.
    pub(super) fn report_left_out(&self, lines: u32) {
        if lines == 0 {
            return;
        }
        let (of, name) = (self.event, Some(self.name).filter(|name| !name.is_empty()));
        macro_rules! write_at {
            ($level:expr) => {
                tracing::event!(
                    target: "lameduck", $level, event = "left_out", of, name, lines,
                    "lines of this kind were omitted"
                )
            };
        }
        match self.level {
            Level::ERROR => write_at!(Level::ERROR),
            Level::WARN => write_at!(Level::WARN),
            Level::INFO => write_at!(Level::INFO),
            _ => write_at!(Level::DEBUG),
        }
    }
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
pub(super) fn level_of(reason: RefusalReason) -> Level {
    match reason {
        RefusalReason::Draining
        | RefusalReason::HandlerTimeout
        | RefusalReason::RequestTimeout
        | RefusalReason::GatewayTimeout => Level::INFO,
        // Already logged as `service_error`.
        RefusalReason::Internal => Level::DEBUG,
        RefusalReason::BodyTooSlow
        | RefusalReason::HeadTooSlow
        | RefusalReason::NoHost
        | RefusalReason::Malformed
        | RefusalReason::HeadTooLarge
        | RefusalReason::TargetTooLong
        | RefusalReason::TlsOnPlainPort
        | RefusalReason::BadPreface
        | RefusalReason::Http2Error
        | RefusalReason::BadHost
        | RefusalReason::BadTarget
        | RefusalReason::BadFraming
        | RefusalReason::UnknownTransferCoding
        | RefusalReason::BodyTooLarge
        | RefusalReason::RateLimited
        | RefusalReason::ClientUnknown => Level::DEBUG,
    }
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Kinds {
            refused: from_fn(|at| {
                let reason = RefusalReason::ALL[at];
                kind("refused", reason.as_str(), level_of(reason))
            }),
            timeouts: from_fn(|at| kind("timeout", TimeoutKind::ALL[at].as_str(), Level::DEBUG)),
            addresses: from_fn(|at| {
                kind(
                    "client_address",
                    ClientIpSource::ALL[at].as_str(),
                    Level::DEBUG,
                )
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
            check_failed: kind("readiness", "", Level::WARN),
            malformed: kind("grpc_timeout_malformed", "", Level::DEBUG),
        }
    }

    pub(crate) fn refused(&self, reason: RefusalReason) -> Option<&Kind> {
        self.refused.get(reason as usize)
    }

    pub(crate) fn timeout(&self, which: TimeoutKind) -> Option<&Kind> {
        self.timeouts.get(which as usize)
    }

    /// Returns `None` if the source is not flagged.
    pub(crate) fn address(&self, source: ClientIpSource) -> Option<&Kind> {
        self.addresses
            .get(source as usize)
            .filter(|_| source.is_flagged())
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
            &self.check_failed,
            &self.malformed,
        ])
    }
}
