use std::time::Duration;

use tracing::field::display;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Level, debug, error, info, trace, warn};

use super::kinds::{Kind, Kinds};
use super::text;
use crate::events::Event;
use crate::phase::Phase;
use crate::reply::Reason;

/// The longest text of others in a line, in bytes.
const TEXT: usize = 512;

#[derive(Debug)]
pub(super) struct Listener {
    kinds: Kinds,
    /// Lines of a kind in a second.
    most: u32,
}

/// Whether anybody may want lines of this level.
///
/// Not `tracing::enabled!`: a subscriber with filters for each of its layers remembers the answer for the
/// event that must follow, and ours may not.
pub(crate) fn wanted(level: Level) -> bool {
    level <= STATIC_MAX_LEVEL && level <= LevelFilter::current()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Listener {
    pub fn new(most: u32) -> Self {
        Listener {
            kinds: Kinds::new(),
            most,
        }
    }

    /// Writes the event; `now` is the second it is.
    pub fn hear(&self, event: &Event<'_>, now: impl Fn() -> u32) {
        match *event {
            Event::Phase(phase) => self.phase(phase),
            Event::Cut { peer, what, age } => {
                let (what, age_ms) = (&*text::line(what, TEXT), millis(age));
                let peer = peer.map(display);
                warn!(target: "lameduck", event = "cut", what, age_ms, peer, "a request was cut");
            }
            Event::Drained { took, cut } => {
                let took_ms = millis(took);
                info!(target: "lameduck", event = "drained", took_ms, cut, "the drain is over");
            }
            Event::Readiness { ready } => {
                if self.may_write(Some(&self.kinds.readiness), now) {
                    info!(
                        target: "lameduck", event = "readiness", ready,
                        "readiness probes get another answer"
                    );
                }
            }
            Event::Opened { peer } => {
                let peer = peer.map(display);
                trace!(target: "lameduck", event = "opened", peer, "a connection was accepted");
            }
            Event::Closed { peer, why } => {
                let (why, peer) = (why.as_str(), peer.map(display));
                trace!(target: "lameduck", event = "closed", why, peer, "a connection has ended");
            }
            Event::Refused { reason } => {
                if self.may_write(self.kinds.refused(reason), now) {
                    refused(reason);
                }
            }
            Event::Timeout { peer, kind } => {
                if self.may_write(self.kinds.timeout(kind), now) {
                    let (kind, peer) = (kind.as_str(), peer.map(display));
                    debug!(target: "lameduck", event = "timeout", kind, peer, "a deadline has passed");
                }
            }
            Event::ClientAddress { verdict } => {
                if self.may_write(self.kinds.address(verdict), now) {
                    let verdict = verdict.as_str();
                    debug!(
                        target: "lameduck", event = "client_address", verdict,
                        "the client's address is doubtful"
                    );
                }
            }
            Event::MalformedGrpcTimeout => {
                if self.may_write(Some(&self.kinds.malformed), now) {
                    debug!(
                        target: "lameduck", event = "grpc_timeout_malformed",
                        "a grpc-timeout that is none was ignored"
                    );
                }
            }
            Event::RateLimitFull => {
                if self.may_write(Some(&self.kinds.full), now) {
                    warn!(
                        target: "lameduck", event = "rate_limit_full",
                        "the rate limiter has no room for one more key"
                    );
                }
            }
            Event::RateLimitFallback { error } => {
                if self.may_write(Some(&self.kinds.fallback), now) {
                    let error = &*text::error(error, TEXT);
                    warn!(
                        target: "lameduck", event = "rate_limit_fallback", error,
                        "the shared rate limit cannot be asked: each instance limits for itself"
                    );
                }
            }
            Event::RateLimitRestored => {
                if self.may_write(Some(&self.kinds.restored), now) {
                    info!(
                        target: "lameduck", event = "rate_limit_restored",
                        "the shared rate limit is asked again"
                    );
                }
            }
            Event::ServiceError { error } => {
                if self.may_write(Some(&self.kinds.service_error), now) {
                    let error = &*text::error(error, TEXT);
                    error!(
                        target: "lameduck", event = "service_error", error,
                        "the service failed, the client got a 500"
                    );
                }
            }
            Event::AcceptError { error, pause } => {
                if self.may_write(Some(&self.kinds.accept_error), now) {
                    let (error, pause_ms) = (&*text::error(error, TEXT), pause.map(millis));
                    warn!(
                        target: "lameduck", event = "accept_error", error, pause_ms,
                        "a connection could not be accepted"
                    );
                }
            }
        }
    }

    fn phase(&self, phase: Phase) {
        // The last seconds of a flood, which no further line of it would tell.
        for kind in self.kinds.all() {
            tell_left_out(kind, kind.meter.settle(self.most));
        }
        let phase = phase.as_str();
        info!(target: "lameduck", event = "phase", phase, "the phase has changed");
    }

    /// Counts a line; tells of those that were left out before it.
    fn may_write(&self, kind: Option<&Kind>, now: impl Fn() -> u32) -> bool {
        let Some(kind) = kind.filter(|kind| wanted(kind.level)) else {
            return false;
        };
        let measured = kind.meter.count(now(), self.most);
        tell_left_out(kind, measured.left_out);
        measured.write
    }
}

fn refused(reason: Reason) {
    let (status, name) = (reason.status().as_u16(), reason.as_str());
    macro_rules! write_at {
        ($level:expr) => {
            tracing::event!(
                target: "lameduck", $level, event = "refused", reason = name, status,
                "a request was refused"
            )
        };
    }
    match super::kinds::level_of(reason) {
        Level::INFO => write_at!(Level::INFO),
        _ => write_at!(Level::DEBUG),
    }
}

fn tell_left_out(kind: &Kind, lines: u32) {
    if lines == 0 {
        return;
    }
    let (of, name) = (kind.event, Some(kind.name).filter(|name| !name.is_empty()));
    macro_rules! write_at {
        ($level:expr) => {
            tracing::event!(
                target: "lameduck", $level, event = "left_out", of, name, lines,
                "lines of this kind were left out"
            )
        };
    }
    match kind.level {
        Level::ERROR => write_at!(Level::ERROR),
        Level::WARN => write_at!(Level::WARN),
        Level::INFO => write_at!(Level::INFO),
        _ => write_at!(Level::DEBUG),
    }
}
