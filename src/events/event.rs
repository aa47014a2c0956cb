use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::RequestInfo;
use crate::conn_info::Verdict;
use crate::phase::Phase;
use crate::reply::Reason;
use crate::text;

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The process moved to this phase.
    Phase(Phase),
    /// What was in flight has ended, or was cut: the drain is over. Workers and closers come next.
    Drained {
        /// How long it took.
        took: Duration,
        /// How many requests were cut.
        cut: usize,
    },
    /// The answer to readiness probes is another than it was, or the first one: told when a probe asks.
    Readiness {
        /// Whether it is to get traffic.
        ready: bool,
    },
    /// A connection was accepted.
    Opened {
        /// The other end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// A connection ended.
    Closed {
        /// The other end; `None` on a Unix socket.
        peer: Option<SocketAddr>,
        /// Why.
        why: Closed,
    },
    /// A deadline passed.
    Timeout {
        /// Which.
        kind: Timeout,
        /// The request that it ended; of a connection without one the peer alone.
        request: RequestInfo<'a>,
    },
    /// A client went away before it had its response: it reset its connection or its stream, or closed the
    /// connection. The handler, or what was left of the response, was dropped.
    ClientGone {
        /// The request.
        request: RequestInfo<'a>,
        /// How old the request was.
        age: Duration,
    },
    /// A request was answered from the table of refusals.
    Refused {
        /// Why.
        reason: Reason,
        /// The request that was refused.
        request: RequestInfo<'a>,
    },
    /// The client's address was looked for.
    ClientAddress {
        /// What was found, and why.
        verdict: Verdict,
    },
    /// A `grpc-timeout` that is none: it was ignored.
    MalformedGrpcTimeout,
    /// The rate limiter had no room for one more key: one that still counted was forgotten, or the new
    /// one refused.
    RateLimitFull,
    /// The limit that instances share could not be asked, and the local one took over: told once for a run
    /// of failures.
    RateLimitFallback {
        /// What went wrong.
        error: &'a (dyn std::error::Error + 'static),
    },
    /// The limit that instances share is asked again.
    RateLimitRestored,
    /// The service failed: it returned an error, and the client got a 500; or it did what it may not, which
    /// [`ServiceFault`](crate::serve::ServiceFault) names.
    ServiceError {
        /// What it said, or what was wrong.
        error: &'a (dyn std::error::Error + 'static),
        /// The request that it failed.
        request: RequestInfo<'a>,
    },
    /// Accepting failed. The listener pauses for `pause` when the process has run out of something
    /// (file descriptors, memory); told once for a run of failures.
    AcceptError {
        /// What the system said.
        error: &'a std::io::Error,
        /// How long nothing is accepted; `None` when the next connection is accepted at once.
        pause: Option<Duration>,
    },
    /// More requests were cut at the end of the drain than are named by [`Cut`](Self::Cut), which names the
    /// oldest 100.
    MoreCut {
        /// How many are not named.
        count: usize,
    },
    /// A request was cut at the end of the drain.
    Cut {
        /// The request; of one whose head was not complete the peer alone.
        request: RequestInfo<'a>,
        /// Where it stood: `in the handler`, `sending the response`, `upgraded`.
        state: &'static str,
        /// How old it was.
        age: Duration,
    },
}

/// Which deadline passed. The names are those of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// `read_header`
    ReadHeader,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `idle`
    Idle,
    /// `read_stall`
    ReadStall,
    /// `write_stall`
    WriteStall,
    /// `response_head`
    ResponseHead,
    /// `min_read_rate`
    MinReadRate,
    /// `min_write_rate`
    MinWriteRate,
}

impl Timeout {
    /// The name, as the setting is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Timeout::ReadHeader => "read_header",
            Timeout::Read => "read",
            Timeout::Write => "write",
            Timeout::Idle => "idle",
            Timeout::ReadStall => "read_stall",
            Timeout::WriteStall => "write_stall",
            Timeout::ResponseHead => "response_head",
            Timeout::MinReadRate => "min_read_rate",
            Timeout::MinWriteRate => "min_write_rate",
        }
    }

    /// Whether it ends the response, rather than the request body.
    #[cfg(feature = "serve")]
    pub(crate) const fn ends_response(self) -> bool {
        matches!(
            self,
            Timeout::Write | Timeout::WriteStall | Timeout::ResponseHead | Timeout::MinWriteRate
        )
    }
}

all!(Timeout: [
    ReadHeader, Read, Write, Idle, ReadStall, WriteStall, ResponseHead, MinReadRate, MinWriteRate,
]);

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closed {
    /// By the peer, or by `Connection: close`, or by GOAWAY: as HTTP ends a connection.
    Ended,
    /// A deadline passed.
    Timeout(Timeout),
    /// The peer broke the protocol or the transport failed.
    Error,
    /// The client went away before it had the response to its HTTP/1 request.
    ClientGone,
    /// It was idle when the drain closed what was idle.
    Drained,
    /// It was cut at the end of the drain.
    Cut,
    /// The service panicked (HTTP/1: on HTTP/2 that ends a stream only).
    Panicked,
}

impl Closed {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Closed::Ended => "ended",
            Closed::Timeout(kind) => kind.as_str(),
            Closed::Error => "error",
            Closed::ClientGone => "client_gone",
            Closed::Drained => "drained",
            Closed::Cut => "cut",
            Closed::Panicked => "panicked",
        }
    }

    /// All of them: the six that are no deadline, then the deadlines.
    pub const ALL: &'static [Closed] = &{
        let mut all = [Closed::Ended; 6 + Timeout::ALL.len()];
        all[1] = Closed::Error;
        all[2] = Closed::Drained;
        all[3] = Closed::Cut;
        all[4] = Closed::ClientGone;
        all[5] = Closed::Panicked;
        let mut at = 0;
        while at < Timeout::ALL.len() {
            all[6 + at] = Closed::Timeout(Timeout::ALL[at]);
            at += 1;
        }
        all
    };

    /// Its place in [`ALL`](Self::ALL).
    #[cfg(any(test, feature = "metrics"))]
    pub(crate) const fn place(self) -> usize {
        match self {
            Closed::Ended => 0,
            Closed::Error => 1,
            Closed::Drained => 2,
            Closed::Cut => 3,
            Closed::ClientGone => 4,
            Closed::Panicked => 5,
            Closed::Timeout(kind) => 6 + kind as usize,
        }
    }
}

#[cfg(test)]
#[test]
fn each_way_to_end_stands_at_its_place() {
    for (place, why) in Closed::ALL.iter().enumerate() {
        assert_eq!(why.place(), place, "{why:?}");
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Phase(phase) => write!(f, "phase: {phase}"),
            Event::Drained { took, cut: 0 } => write!(f, "drained in {took:?}"),
            Event::Drained { took, cut } => write!(f, "drained in {took:?}, cut {cut}"),
            Event::Readiness { ready: true } => f.write_str("ready"),
            Event::Readiness { ready: false } => f.write_str("not ready"),
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
            Event::ClientAddress { verdict } => write!(f, "client address: {verdict}"),
            Event::MalformedGrpcTimeout => f.write_str("a malformed grpc-timeout was ignored"),
            Event::RateLimitFull => f.write_str("the rate limiter has no room for one more key"),
            Event::RateLimitFallback { error } => {
                write!(
                    f,
                    "the shared rate limit fell back to the local one: {}",
                    Line(error)
                )
            }
            Event::RateLimitRestored => f.write_str("the shared rate limit is asked again"),
            Event::ServiceError { error, request } => {
                write!(f, "the service failed: {}{}", Line(error), Of(request))
            }
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

/// What is known of the request, behind a space.
struct Of<'a>(&'a RequestInfo<'a>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 == RequestInfo::default() {
            true => Ok(()),
            false => write!(f, " {}", self.0),
        }
    }
}

/// An error's text, which may quote what a client sent, in one line.
struct Line<'a>(&'a dyn fmt::Display);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(self.0, 512))
    }
}
