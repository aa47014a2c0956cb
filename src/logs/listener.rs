use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::field::display;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Level, debug, error, info, trace, warn};

use super::ignored::Ignored;
use super::kinds::{Kind, Kinds};
use crate::conn_info::ClientIpSource;
use crate::events::{Event, RequestInfo, WorkerEnd};
use crate::phase::Phase;
use crate::reply::RefusalReason;
use crate::text;

/// The maximum length of foreign text in a line, in bytes.
const TEXT: usize = 512;
/// The maximum length of a path, method and route, in bytes.
const PATH: usize = 256;

/// The fields of a request, sanitised for a line.
struct Fields<'a> {
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    route: Option<Cow<'a, str>>,
    client: Option<IpAddr>,
    peer: Option<SocketAddr>,
    request_id: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn of(request: &RequestInfo<'a>) -> Self {
        let fit = |text: Option<&'a str>| text.map(|text| text::path(text, PATH));
        Fields {
            method: fit(request.method),
            path: fit(request.path),
            route: fit(request.route),
            client: request.client,
            peer: request.peer,
            request_id: fit(request.request_id),
        }
    }
}

/// Writes a line about a request and omits unknown fields.
macro_rules! write_request {
    ($level:expr, $of:ident, $message:literal, $($fields:tt)+) => {
        tracing::event!(
            target: "lameduck", $level, $($fields)+,
            method = $of.method.as_deref(), path = $of.path.as_deref(),
            route = $of.route.as_deref(), client = $of.client.map(display),
            peer = $of.peer.map(display), request_id = $of.request_id.as_deref(),
            $message
        )
    };
}

#[derive(Debug)]
pub(super) struct Listener {
    kinds: Kinds,
    ignored: Ignored,
    /// The maximum number of lines of one kind per second.
    max: u32,
}

/// Returns `true` if any subscriber may want lines of this level.
///
/// `tracing::enabled!` is not used: a subscriber with per-layer filters remembers its answer for the event that must
/// follow, and ours may not follow.
pub(crate) fn wanted(level: Level) -> bool {
    level <= STATIC_MAX_LEVEL && level <= LevelFilter::current()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Listener {
    pub(crate) fn new(max: u32) -> Self {
        Listener {
            kinds: Kinds::new(),
            ignored: Ignored::default(),
            max,
        }
    }

    /// Writes the event; `now` returns the current second.
    pub(crate) fn write(&self, event: &Event<'_>, now: impl Fn() -> u32) {
        match *event {
            Event::Phase(phase) => self.phase(phase),
            Event::Cut {
                ref request,
                state,
                age,
            } => {
                let age_ms = millis(age);
                let fields = Fields::of(request);
                write_request!(
                    Level::WARN,
                    fields,
                    "a request was cut",
                    event = "cut",
                    state,
                    age_ms
                );
            }
            Event::MoreCut { count } => {
                warn!(target: "lameduck", event = "more_cut", count, "more requests were cut");
            }
            Event::Drained { took, cut } => {
                let took_ms = millis(took);
                info!(target: "lameduck", event = "drained", took_ms, cut, "the drain is over");
            }
            Event::Signal {
                signal,
                effect,
                in_flight,
            } => {
                info!(target: "lameduck", event = "signal", signal, effect, in_flight, "{event}");
            }
            Event::Readiness { ready, failed } if !failed.is_empty() => {
                if self.may_write(Some(&self.kinds.check_failed), now) {
                    let failed = &*text::line(failed, TEXT);
                    warn!(
                        target: "lameduck", event = "readiness", ready, failed,
                        "a check failed: the process is not ready"
                    );
                }
            }
            Event::Readiness { ready, .. } => {
                if self.may_write(Some(&self.kinds.readiness), now) {
                    info!(
                        target: "lameduck", event = "readiness", ready,
                        "readiness has changed"
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
            Event::ClientGone { ref request, age } => {
                if self.may_write(Some(&self.kinds.client_gone), now) {
                    let (age_ms, fields) = (millis(age), Fields::of(request));
                    write_request!(
                        Level::DEBUG,
                        fields,
                        "the client left before it had its response",
                        event = "client_gone",
                        age_ms
                    );
                }
            }
            Event::Refused {
                reason,
                ref request,
            } => {
                if self.may_write(self.kinds.refused(reason), now) {
                    refused(reason, request);
                }
            }
            Event::Timeout { kind, ref request } => {
                if self.may_write(self.kinds.timeout(kind), now) {
                    let (kind, fields) = (kind.as_str(), Fields::of(request));
                    write_request!(
                        Level::DEBUG,
                        fields,
                        "a deadline has passed",
                        event = "timeout",
                        kind
                    );
                }
            }
            Event::ClientAddress {
                source: ClientIpSource::Ignored,
                peer: Some(peer),
                header,
            } if self.max > 0 && wanted(Level::WARN) => self.ignored.warn(peer, header),
            Event::ClientAddress { source, .. } => {
                if self.may_write(self.kinds.address(source), now) {
                    let source = source.as_str();
                    debug!(
                        target: "lameduck", event = "client_address", source,
                        "the client's address is suspicious"
                    );
                }
            }
            Event::MalformedGrpcTimeout => {
                if self.may_write(Some(&self.kinds.malformed), now) {
                    debug!(
                        target: "lameduck", event = "grpc_timeout_malformed",
                        "a malformed grpc-timeout was ignored"
                    );
                }
            }
            Event::RateLimitFull => {
                if self.may_write(Some(&self.kinds.full), now) {
                    warn!(
                        target: "lameduck", event = "rate_limit_full",
                        "the rate limiter has no room for another key"
                    );
                }
            }
            Event::RateLimitFallback { error } => {
                if self.may_write(Some(&self.kinds.fallback), now) {
                    let error = &*text::error(error, TEXT);
                    warn!(
                        target: "lameduck", event = "rate_limit_fallback", error,
                        "the shared rate limit is unreachable: each instance limits on its own"
                    );
                }
            }
            Event::RateLimitRestored => {
                if self.may_write(Some(&self.kinds.restored), now) {
                    info!(
                        target: "lameduck", event = "rate_limit_restored",
                        "the shared rate limit is in use again"
                    );
                }
            }
            Event::ServiceError { error, ref request } => {
                if self.may_write(Some(&self.kinds.service_error), now) {
                    let (error, fields) = (&*text::error(error, TEXT), Fields::of(request));
                    macro_rules! write_line {
                        ($text:literal) => {
                            write_request!(
                                Level::ERROR,
                                fields,
                                $text,
                                event = "service_error",
                                error
                            )
                        };
                    }
                    match request.grpc {
                        false => write_line!("the service failed, the client got a 500"),
                        true => write_line!("the service failed, the client got INTERNAL"),
                    }
                }
            }
            Event::Panicked {
                message,
                ref request,
            } => {
                if self.may_write(Some(&self.kinds.panicked), now) {
                    let (panic, fields) = (&*text::line(message, TEXT), Fields::of(request));
                    macro_rules! write_line {
                        ($text:literal) => {
                            write_request!(Level::ERROR, fields, $text, event = "panicked", panic)
                        };
                    }
                    match request.grpc {
                        false => write_line!("the service panicked, the client got a 500"),
                        true => write_line!("the service panicked, the client got INTERNAL"),
                    }
                }
            }
            Event::WorkerEnded {
                name,
                end,
                essential,
            } => {
                if self.may_write(Some(&self.kinds.worker_ended), now) {
                    let error = match end {
                        WorkerEnd::Failed(error) => Some(text::line(error, TEXT)),
                        WorkerEnd::Done | WorkerEnd::Panicked => None,
                    };
                    let (name, end, error) =
                        (&*text::line(name, TEXT), end.as_str(), error.as_deref());
                    error!(
                        target: "lameduck", event = "worker_ended", name, end, essential, error,
                        "a worker ended before it was to stop"
                    );
                }
            }
            Event::Misconfigured { advice } => {
                if self.may_write(Some(&self.kinds.misconfigured), now) {
                    let advice = &*text::line(advice, TEXT);
                    warn!(
                        target: "lameduck", event = "misconfigured", advice,
                        "the process is set up in an invalid way"
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
        // Reports the last seconds of a flood, which no further line of its kind would report.
        for kind in self.kinds.all() {
            kind.report_left_out(kind.meter.settle(self.max));
        }
        let phase = phase.as_str();
        info!(target: "lameduck", event = "phase", phase, "the phase has changed");
    }

    /// Counts a line, and reports the lines that were left out before it.
    fn may_write(&self, kind: Option<&Kind>, now: impl Fn() -> u32) -> bool {
        let Some(kind) = kind.filter(|kind| wanted(kind.level)) else {
            return false;
        };
        let measured = kind.meter.count(now(), self.max);
        kind.report_left_out(measured.left_out);
        measured.write
    }
}

fn refused(reason: RefusalReason, request: &RequestInfo<'_>) {
    let reason_name = reason.as_str();
    let (status, grpc_status) = match request.grpc {
        false => (reason.status().as_u16(), None),
        true => (200, Some(reason.grpc_status())),
    };
    let fields = Fields::of(request);
    macro_rules! write_at {
        ($level:expr) => {
            write_request!(
                $level,
                fields,
                "a request was refused",
                event = "refused",
                reason = reason_name,
                status,
                grpc_status
            )
        };
    }
    match super::kinds::level_of(reason) {
        Level::INFO => write_at!(Level::INFO),
        _ => write_at!(Level::DEBUG),
    }
}
