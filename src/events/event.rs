use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderName;

use super::close_reason::CloseReason;
use super::request::RequestInfo;
use super::timeout_kind::TimeoutKind;
use crate::conn_info::ClientIpSource;
use crate::phase::Phase;
use crate::reply::RefusalReason;
use crate::text;

/// A notable occurrence in the life of the process, a connection or a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The process moved to this phase.
    Phase(Phase),
    /// The drain is over: every request in flight has ended or was cut. Workers and closers come next.
    Drained {
        /// The duration of the drain.
        took: Duration,
        /// The number of requests that were cut.
        cut: usize,
    },
    /// A signal came to a shutdown. Emitted by the task that drives it, once that runs.
    Signal {
        /// Its name, as in `SIGTERM`.
        signal: &'static str,
        /// Its effect: `shutdown` (the whole sequence begins), `drain` (without the lame duck), `cut`, or `repeated`: it
        /// repeats an earlier one, and has no effect.
        effect: &'static str,
        /// The number of requests in flight.
        in_flight: usize,
    },
    /// Readiness changed, or was evaluated for the first time. Emitted when a probe is answered.
    Readiness {
        /// `true` if the process should receive traffic.
        ready: bool,
        /// The required checks that failed, each with its error (`database: connection refused; disk: full`); empty if
        /// none did: the process is ready, or its phase alone decides.
        failed: &'a str,
    },
    /// A connection was accepted.
    Opened {
        /// The remote end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// A connection ended.
    Closed {
        /// The remote end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
        /// The reason.
        why: CloseReason,
    },
    /// A deadline passed.
    Timeout {
        /// The deadline.
        kind: TimeoutKind,
        /// The request that it ended; for a connection without a request, only the peer is known.
        request: RequestInfo<'a>,
    },
    /// A client left before it had its response: it reset its connection or its stream, or closed the connection. The
    /// handler, or the rest of the response, was dropped.
    ClientGone {
        /// The request.
        request: RequestInfo<'a>,
        /// The age of the request.
        age: Duration,
    },
    /// A request was refused.
    Refused {
        /// The reason.
        reason: RefusalReason,
        /// The refused request.
        request: RequestInfo<'a>,
    },
    /// The client's address was determined.
    ClientAddress {
        /// The source of the address.
        source: ClientIpSource,
        /// The socket's peer, with IPv4-mapped IPv6 folded to IPv4.
        peer: Option<IpAddr>,
        /// The header that names the client, whether it is present or not.
        header: &'a HeaderName,
    },
    /// A malformed `grpc-timeout` header was ignored.
    MalformedGrpcTimeout,
    /// The rate limiter had no room for another key: it evicted one that still counted, or refused the new one.
    RateLimitFull,
    /// The shared rate limit could not be reached, and the local one took over. Emitted once per run of failures.
    RateLimitFallback {
        /// The cause.
        error: &'a (dyn std::error::Error + 'static),
    },
    /// The shared rate limit is in use again.
    RateLimitRestored,
    /// The service failed: it returned an error and the client got a 500 (gRPC: INTERNAL), or it broke a rule that
    /// [`ServiceFault`](crate::serve::ServiceFault) names.
    ServiceError {
        /// The service's error, or the broken rule.
        error: &'a (dyn std::error::Error + 'static),
        /// The request that failed.
        request: RequestInfo<'a>,
    },
    /// The service panicked, and [`CatchPanicLayer`](crate::CatchPanicLayer) answered for it.
    Panicked {
        /// The panic's message.
        message: &'a str,
        /// The request that it failed.
        request: RequestInfo<'a>,
    },
    /// A worker of the shutdown ended before it was to stop.
    WorkerEnded {
        /// Its name.
        name: &'a str,
        /// The end of the step.
        end: WorkerEnd<'a>,
        /// `true` if the process depends on it: the shutdown begins.
        essential: bool,
    },
    /// The process is set up in an invalid way. Emitted once for each case.
    Misconfigured {
        /// The problem, and its fix.
        advice: &'a str,
    },
    /// Accepting a connection failed. The listener pauses for `pause` when the process is out of a resource (file
    /// descriptors, memory). Emitted once per run of failures.
    AcceptError {
        /// The operating system's error.
        error: &'a std::io::Error,
        /// The time for which no connection is accepted; `None` if the next one is accepted at once.
        pause: Option<Duration>,
    },
    /// More requests were cut at the end of the drain than [`Cut`](Self::Cut) names, which is limited to the oldest
    /// 100.
    MoreCut {
        /// The number of requests that are not named.
        count: usize,
    },
    /// A request was cut at the end of the drain.
    Cut {
        /// The request; if its head was incomplete, only the peer is known.
        request: RequestInfo<'a>,
        /// The request's progress: `in the handler`, `sending the response`, `upgraded`.
        state: &'static str,
        /// The age of the request.
        age: Duration,
    },
}

/// The end of a worker before it was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEnd<'a> {
    /// It returned.
    Done,
    /// It returned an error, which is this.
    Failed(&'a str),
    /// It panicked, or was aborted.
    Panicked,
}

impl WorkerEnd<'_> {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            WorkerEnd::Done => "done",
            WorkerEnd::Failed(_) => "failed",
            WorkerEnd::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Phase(phase) => write!(f, "phase: {phase}"),
            Event::Drained { took, cut: 0 } => write!(f, "drained in {took:?}"),
            Event::Drained { took, cut } => write!(f, "drained in {took:?}, cut {cut}"),
            Event::Signal {
                signal,
                effect,
                in_flight,
            } => {
                let does = match *effect {
                    "shutdown" => "shutting down",
                    "drain" => "draining",
                    "cut" => "cutting",
                    _ => return write!(f, "{signal}: ignored, it repeats an earlier signal"),
                };
                let plural = if *in_flight == 1 { "" } else { "s" };
                write!(f, "{signal}: {does}, {in_flight} request{plural} in flight")
            }
            Event::Readiness { ready: true, .. } => f.write_str("ready"),
            Event::Readiness { failed: "", .. } => f.write_str("not ready"),
            Event::Readiness { failed, .. } => write!(f, "not ready: {}", Line(failed)),
            Event::Opened { peer } => {
                write!(f, "connection opened{}", Of(&RequestInfo::from_peer(*peer)))
            }
            Event::Closed { peer, why } => {
                let peer = RequestInfo::from_peer(*peer);
                write!(f, "connection closed{}: {}", Of(&peer), why.as_str())
            }
            Event::Timeout { kind, request } => write!(f, "timeout {kind}{}", Of(request)),
            Event::Refused { reason, request } => write!(f, "refused: {reason}{}", Of(request)),
            Event::ClientGone { request, age } => {
                write!(f, "client gone after {age:?}{}", Of(request))
            }
            Event::ClientAddress { source, .. } => write!(f, "client address: {source}"),
            Event::MalformedGrpcTimeout => f.write_str("a malformed grpc-timeout was ignored"),
            Event::RateLimitFull => f.write_str("the rate limiter has no room for another key"),
            Event::RateLimitFallback { error } => {
                write!(
                    f,
                    "the shared rate limit fell back to the local one: {}",
                    Line(error)
                )
            }
            Event::RateLimitRestored => f.write_str("the shared rate limit is in use again"),
            Event::ServiceError { error, request } => {
                write!(f, "the service failed: {}{}", Line(error), Of(request))
            }
            Event::Panicked { message, request } => {
                write!(f, "the service panicked: {}{}", Line(message), Of(request))
            }
            Event::WorkerEnded {
                name,
                end,
                essential,
            } => {
                let kind = if *essential {
                    "essential worker"
                } else {
                    "worker"
                };
                write!(f, "{kind} {} ended: {}", Line(name), end.as_str())?;
                match end {
                    WorkerEnd::Failed(error) => write!(f, ": {}", Line(error)),
                    WorkerEnd::Done | WorkerEnd::Panicked => Ok(()),
                }
            }
            Event::Misconfigured { advice } => write!(f, "misconfigured: {}", Line(advice)),
            Event::AcceptError { error, pause: None } => write!(f, "accept failed: {error}"),
            Event::AcceptError {
                error,
                pause: Some(pause),
            } => write!(f, "accept failed, pausing for {pause:?}: {error}"),
            Event::MoreCut { count } => write!(f, "cut {count} more"),
            Event::Cut {
                request,
                state,
                age,
            } => write!(f, "cut after {age:?}, {state}{}", Of(request)),
        }
    }
}

/// The known parts of a request, preceded by a space.
struct Of<'a>(&'a RequestInfo<'a>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 == RequestInfo::default() {
            true => Ok(()),
            false => write!(f, " {}", self.0),
        }
    }
}

/// An error's text in one line; it may quote a client.
struct Line<'a>(&'a dyn fmt::Display);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(self.0, 512))
    }
}
