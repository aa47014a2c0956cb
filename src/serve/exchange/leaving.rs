//! How an HTTP/2 connection leaves: what its task, its streams and its transport share of it.

use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::serve::time::Tick;

/// How long a client may take at least to acknowledge the GOAWAY; a client with a long way takes two round trips.
const WAIT: Duration = Duration::from_secs(1);
/// A client whose round trip is longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long before the GOAWAY that counts a first one announces it, at least: a round trip (RFC 9113, 6.8).
const NOTICE: Duration = Duration::from_millis(100);

pub(crate) struct Leaving {
    /// The transport is to write its [`Notice`](crate::serve::notice::Notice) when it next stands between two frames.
    pub notice: AtomicBool,
    /// The transport is to acknowledge the GOAWAY's PING in the client's stead.
    pub acknowledge: AtomicBool,
    /// From when on new streams are refused.
    refuse_from: AtomicU64,
    /// The transport has shut its write side and reads away until then.
    linger_until: AtomicU64,
    /// From the connection's SETTINGS to the client's acknowledgement, in nanoseconds; 0 until it has come.
    round_trip: AtomicU64,
    /// How many streams have ended.
    ended: AtomicUsize,
    /// How many had ended when everything was last written.
    written: AtomicUsize,
    /// How many bytes the transport had taken by then.
    answered: AtomicU64,
    /// The connection lingers because the kernel still holds a part of an answer.
    undelivered: AtomicBool,
    /// The transport is to be reset when it is dropped.
    reset: AtomicBool,
    /// How many were written when the GOAWAY's PING was sent: whoever acknowledges it has read them.
    proof: AtomicUsize,
}

impl Default for Leaving {
    fn default() -> Self {
        Leaving {
            notice: AtomicBool::new(false),
            acknowledge: AtomicBool::new(false),
            refuse_from: AtomicU64::new(Tick::NEVER.0),
            linger_until: AtomicU64::new(Tick::NEVER.0),
            round_trip: AtomicU64::new(0),
            ended: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            undelivered: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            proof: AtomicUsize::new(0),
        }
    }
}

impl Leaving {
    /// A stream has ended, for the server; h2 may still hold the end of its answer.
    pub(crate) fn stream_ended(&self) {
        self.ended.fetch_add(1, Release);
    }

    /// How many streams have ended: to be asked before h2 writes.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Acquire)
    }

    /// The transport has taken all that h2 had to write after so many streams had ended: so many bytes.
    pub(crate) fn all_written(&self, ended: usize, bytes: u64) {
        if self.written.swap(ended, Relaxed) != ended {
            self.answered.store(bytes, Relaxed);
        }
    }

    /// After how many of the bytes that the transport has taken, so many in all, the last answer ends.
    pub(crate) fn answered(&self, bytes: u64) -> u64 {
        match self.holds_answers() {
            true => bytes,
            false => self.answered.load(Relaxed),
        }
    }

    pub(crate) fn set_undelivered(&self, undelivered: bool) {
        self.undelivered.store(undelivered, Relaxed);
    }

    /// Whether the closing connection lingers for an answer of which the client does not have all.
    pub(crate) fn is_undelivered(&self) -> bool {
        self.undelivered.load(Relaxed)
    }

    /// Whether streams have ended whose answers the transport has not taken.
    pub(crate) fn holds_answers(&self) -> bool {
        self.ended() != self.written.load(Relaxed)
    }

    /// The client takes nothing: what the kernel holds for it is to go with the connection.
    pub(crate) fn set_reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(crate) fn resets(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// The GOAWAY and its PING are about to be sent.
    pub(crate) fn begin(&self, now: Tick) {
        self.refuse_from
            .store(now.after(Some(self.wait())).0, Relaxed);
        if !self.holds_answers() {
            self.proof.store(self.ended(), Relaxed);
        }
    }

    /// Whether an answer has been sent of which it is not known that the client has it.
    pub(crate) fn owes_proof(&self, goaway_acknowledged: bool) -> bool {
        let proven = match goaway_acknowledged {
            true => self.proof.load(Relaxed),
            false => 0,
        };
        self.ended() != proven
    }

    /// Whether new streams are refused: the client has had its time to hear of the GOAWAY.
    pub(crate) fn refuses(&self, now: impl FnOnce() -> Tick) -> bool {
        match Tick(self.refuse_from.load(Relaxed)) {
            Tick::NEVER => false,
            from => now() >= from,
        }
    }

    pub(crate) fn set_linger(&self, until: Tick) {
        self.linger_until.store(until.0, Relaxed);
    }

    /// Until when the closing connection lingers; `NEVER` while it is not closing.
    pub(crate) fn linger_until(&self) -> Tick {
        Tick(self.linger_until.load(Relaxed))
    }

    pub(crate) fn set_round_trip(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.round_trip.store(nanos.max(1), Relaxed);
    }

    fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Relaxed))
    }

    /// How long the client may take to acknowledge the GOAWAY.
    pub(crate) fn wait(&self) -> Duration {
        self.round_trip()
            .saturating_mul(2)
            .clamp(WAIT, LONGEST_WAIT)
    }

    /// How long before the GOAWAY that counts a first one announces it.
    pub(crate) fn notice_time(&self) -> Duration {
        self.round_trip().clamp(NOTICE, WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_long_way_is_waited_for_within_bounds() {
        let leaving = Leaving::default();
        assert_eq!(
            (leaving.wait(), leaving.notice_time()),
            (ms(1_000), ms(100))
        );
        for (round_trip, wait, notice) in [
            (ms(30), ms(1_000), ms(100)),
            (ms(700), ms(1_400), ms(700)),
            (ms(60_000), ms(5_000), ms(1_000)),
        ] {
            leaving.set_round_trip(round_trip);
            assert_eq!((leaving.wait(), leaving.notice_time()), (wait, notice));
        }
    }

    #[test]
    fn an_acknowledged_goaway_proves_what_was_written_before_it() {
        let leaving = Leaving::default();
        assert!(
            !leaving.owes_proof(false),
            "without a stream there is nothing to prove"
        );
        leaving.stream_ended();
        assert!(leaving.holds_answers());
        leaving.all_written(leaving.ended(), 0);
        assert!(leaving.owes_proof(false));
        leaving.begin(Tick(0));
        assert!(leaving.owes_proof(false) && !leaving.owes_proof(true));
        leaving.stream_ended();
        assert!(leaving.owes_proof(true), "it ended behind the GOAWAY");
    }

    #[test]
    fn what_was_not_written_before_the_goaway_is_not_proven_by_it() {
        let leaving = Leaving::default();
        leaving.stream_ended();
        leaving.begin(Tick(0));
        leaving.all_written(leaving.ended(), 0);
        assert!(leaving.owes_proof(true));
    }

    #[test]
    fn new_streams_are_refused_after_the_wait() {
        let leaving = Leaving::default();
        assert!(!leaving.refuses(|| Tick::NEVER));
        leaving.begin(Tick(7));
        let end = Tick(7).after(Some(WAIT));
        assert!(!leaving.refuses(|| Tick(end.0 - 1)));
        assert!(leaving.refuses(|| end));
    }
}
