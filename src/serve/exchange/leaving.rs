//! The closing of an HTTP/2 connection, as its task, its streams and its transport share it.

use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::serve::config::fixed::{GOAWAY_NOTICE, GOAWAY_WAIT, LONGEST_GOAWAY_WAIT};
use crate::serve::time::Tick;

pub(crate) struct Leaving {
    /// A request to the transport to write its [`Notice`](crate::serve::notice::Notice) when it is next between two
    /// frames.
    pub notice: AtomicBool,
    /// A request to the transport to acknowledge the GOAWAY's PING in the client's place.
    pub acknowledge: AtomicBool,
    /// The time from which new streams are refused.
    refuse_from: AtomicU64,
    /// The end of the lingering close: the transport has shut its write side and discards input until then.
    linger_until: AtomicU64,
    /// The time from the connection's SETTINGS to the client's acknowledgement, in nanoseconds; 0 until it has come.
    round_trip: AtomicU64,
    /// The number of streams that have ended.
    ended: AtomicUsize,
    /// The number of them that had ended when all output was last written.
    written: AtomicUsize,
    /// The number of bytes that the transport had taken by then.
    answered: AtomicU64,
    /// `true` while the connection lingers because the kernel still holds a part of a response.
    undelivered: AtomicBool,
    /// A request to reset the transport when it is dropped.
    reset: AtomicBool,
    /// The number of written streams when the GOAWAY's PING was sent: a client that acknowledges it has read them.
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
    /// Counts a stream that has ended for the server; h2 may still hold the end of its response.
    pub(crate) fn stream_ended(&self) {
        self.ended.fetch_add(1, Release);
    }

    /// Returns the number of streams that have ended. Call it before h2 writes.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Acquire)
    }

    /// Records that the transport has taken all of h2's output after `ended` streams had ended: `bytes` in all.
    pub(crate) fn all_written(&self, ended: usize, bytes: u64) {
        if self.written.swap(ended, Relaxed) != ended {
            self.answered.store(bytes, Relaxed);
        }
    }

    /// Returns the offset at which the last response ends; `bytes` is the number that the transport has taken in all.
    pub(crate) fn answered(&self, bytes: u64) -> u64 {
        match self.holds_answers() {
            true => bytes,
            false => self.answered.load(Relaxed),
        }
    }

    pub(crate) fn set_undelivered(&self, undelivered: bool) {
        self.undelivered.store(undelivered, Relaxed);
    }

    /// Returns `true` while the closing connection lingers for a response that the client does not have in full.
    pub(crate) fn is_undelivered(&self) -> bool {
        self.undelivered.load(Relaxed)
    }

    /// Returns `true` if streams have ended whose responses the transport has not taken.
    pub(crate) fn holds_answers(&self) -> bool {
        self.ended() != self.written.load(Relaxed)
    }

    /// Requests a reset: the client takes nothing, and the data that the kernel holds for it goes with the connection.
    pub(crate) fn set_reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(crate) fn resets(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// Records that the GOAWAY and its PING are about to be sent.
    pub(crate) fn begin(&self, now: Tick) {
        self.refuse_from
            .store(now.after(Some(self.wait())).0, Relaxed);
        if !self.holds_answers() {
            self.proof.store(self.ended(), Relaxed);
        }
    }

    /// Returns `true` if a response was sent whose arrival at the client is unproved.
    pub(crate) fn owes_proof(&self, goaway_acknowledged: bool) -> bool {
        let proven = match goaway_acknowledged {
            true => self.proof.load(Relaxed),
            false => 0,
        };
        self.ended() != proven
    }

    /// Returns `true` if new streams are refused: the client has had its time to receive the GOAWAY.
    pub(crate) fn refuses(&self, now: impl FnOnce() -> Tick) -> bool {
        match Tick(self.refuse_from.load(Relaxed)) {
            Tick::NEVER => false,
            from => now() >= from,
        }
    }

    pub(crate) fn set_linger(&self, until: Tick) {
        self.linger_until.store(until.0, Relaxed);
    }

    /// Returns the end of the lingering close; `NEVER` while the connection is not closing.
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

    /// Returns the time that the client has to acknowledge the GOAWAY.
    pub(crate) fn wait(&self) -> Duration {
        self.round_trip()
            .saturating_mul(2)
            .clamp(GOAWAY_WAIT, LONGEST_GOAWAY_WAIT)
    }

    /// Returns the time between the early GOAWAY and the final one.
    pub(crate) fn notice_time(&self) -> Duration {
        self.round_trip().clamp(GOAWAY_NOTICE, GOAWAY_WAIT)
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
    fn goaway_ack_does_not_prove_later_writes() {
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
        let end = Tick(7).after(Some(GOAWAY_WAIT));
        assert!(!leaving.refuses(|| Tick(end.0 - 1)));
        assert!(leaving.refuses(|| end));
    }
}
