//! The server's view of each of its connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use super::known::Known;
use crate::conn_info::ConnInfo;
use crate::events::CloseReason;
use crate::serve::config::Timeouts;
use crate::serve::time::{Clock, Tick};
use crate::shutdown::{ConnectionState, CutRequest};
use crate::sync::{Lock, set_waker};

/// One connection, as the registry knows it.
pub(crate) struct Conn {
    pub info: ConnInfo,
    pub accepted: Tick,
    requests: AtomicU32,
    /// `true` if the last response ended in the lame duck or later, and did not ask the connection to leave.
    uninformed: AtomicBool,
    /// The seed of this connection's random numbers.
    seed: u64,
    /// The time since when the peer has taken no output; `NEVER` while none waits.
    write_blocked: AtomicU64,
    /// The time at which the peer last began to take output again.
    write_resumed: AtomicU64,
    inner: Lock<Inner>,
}

struct Inner {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The connection's activity; `None` if it is parked.
    activity: Option<Arc<dyn Activity>>,
    why: CloseReason,
}

impl Conn {
    pub(crate) fn new(info: ConnInfo, accepted: Tick, seed: u64) -> Self {
        Conn {
            info,
            accepted,
            seed,
            requests: AtomicU32::new(0),
            uninformed: AtomicBool::new(false),
            write_blocked: AtomicU64::new(Tick::NEVER.0),
            write_resumed: AtomicU64::new(0),
            inner: Lock::new(Inner {
                reader: None,
                writer: None,
                activity: None,
                why: CloseReason::Ended,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Returns `true` if the client has not been asked to leave while the drain goes on: the next response asks it.
    pub(crate) fn is_uninformed(&self) -> bool {
        self.requests() == 0 || self.uninformed.load(Relaxed)
    }

    pub(crate) fn set_uninformed(&self) {
        self.uninformed.store(true, Relaxed);
    }

    /// Returns a number from 0 to 1, another for each request: SplitMix64. It spreads departures and protects nothing.
    pub(crate) fn random_unit(&self) -> f64 {
        let step = u64::from(self.requests()).wrapping_add(1);
        let mut z = self
            .seed
            .wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    // === the peer takes nothing ===

    /// Records a write that is blocked. Returns the time since when writes have been blocked.
    pub(crate) fn write_blocks(&self, clock: &Clock) -> Tick {
        if !self.write_is_blocked() {
            self.write_blocked.store(clock.now().0, Relaxed);
        }
        Tick(self.write_blocked.load(Relaxed))
    }

    /// Records a write that was taken. Returns the time if an earlier one was blocked.
    pub(crate) fn write_progressed(&self, clock: &Clock) -> Option<Tick> {
        if !self.write_is_blocked() {
            return None;
        }
        let now = clock.now();
        self.write_blocked.store(Tick::NEVER.0, Relaxed);
        self.write_resumed.store(now.0, Relaxed);
        Some(now)
    }

    /// Records that a write is still blocked, but the peer takes earlier output.
    pub(crate) fn write_trickles(&self, now: Tick) {
        self.write_blocked.store(now.0, Relaxed);
    }

    pub(crate) fn write_is_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed) != Tick::NEVER.0
    }

    /// Returns the time since when the connection has been quiet, if no request has been open since `idle_since`. It is
    /// not quiet while output waits for the peer.
    pub(crate) fn quiet_since(&self, idle_since: Tick) -> Tick {
        if self.write_is_blocked() {
            return Tick::NEVER;
        }
        idle_since.max(Tick(self.write_resumed.load(Relaxed)))
    }

    pub(crate) fn write_stall_deadline(&self, timeouts: &Timeouts) -> Tick {
        match Tick(self.write_blocked.load(Relaxed)) {
            Tick::NEVER => Tick::NEVER,
            since => since.after(timeouts.effective_write_stall()),
        }
    }

    // === the view from outside ===

    pub(crate) fn set_activity(&self, activity: Option<Arc<dyn Activity>>) {
        let before = std::mem::replace(&mut self.inner().activity, activity);
        drop(before);
    }

    fn activity(&self) -> Option<Arc<dyn Activity>> {
        self.inner().activity.clone()
    }

    /// Sets the close reason, in case the connection ends now.
    pub(crate) fn set_close_reason(&self, why: CloseReason) {
        self.inner().why = why;
    }

    pub(crate) fn why(&self) -> CloseReason {
        self.inner().why
    }

    /// Sets the waker for the server's notices. An upgraded connection may be read and written by two tasks.
    pub(crate) fn set_reader(&self, waker: &Waker) {
        set_waker(&mut self.inner().reader, waker);
    }

    pub(crate) fn set_writer(&self, waker: &Waker) {
        set_waker(&mut self.inner().writer, waker);
    }

    pub(crate) fn wake(&self) {
        let mut inner = self.inner();
        let (reader, writer) = (inner.reader.clone(), inner.writer.take());
        drop(inner);
        [reader, writer].into_iter().flatten().for_each(Waker::wake);
    }

    /// Adds what a cut would report now: nothing for an idle connection.
    pub(crate) fn in_flight(&self, clock: &Clock, into: &mut Vec<CutRequest>) {
        let now = clock.now();
        self.each_in_flight(|one| into.push(one.named(now)));
    }

    /// Visits each request in flight.
    pub(crate) fn each_in_flight(&self, mut visit: impl FnMut(InFlight<'_>)) {
        if let Some(activity) = self.activity() {
            activity.each_in_flight(self, &mut visit);
        }
    }

    /// Returns the state in which the connection is counted; an HTTP/2 connection counts as its stream that is furthest
    /// from its end.
    pub(crate) fn counts_as(&self) -> ConnectionState {
        match self.activity() {
            Some(activity) => activity.counts_as(),
            None => ConnectionState::Idle,
        }
    }
}

/// The activity of a connection, for observers outside its task.
pub(crate) trait Activity: Send + Sync {
    /// Visits each request in flight on `conn`.
    fn each_in_flight(&self, conn: &Conn, visit: &mut dyn FnMut(InFlight<'_>));
    fn counts_as(&self) -> ConnectionState;
}

/// A request in flight, or an upgraded connection.
pub(crate) struct InFlight<'a> {
    pub began: Tick,
    /// A function that returns the name and facts; each call allocates.
    pub known: &'a dyn Fn() -> Known,
    pub state: &'static str,
}

impl InFlight<'_> {
    /// Returns the report of this request if it is cut at `now`.
    pub(crate) fn named(&self, now: Tick) -> CutRequest {
        CutRequest::new((self.known)().info(), now.since(self.began), self.state)
    }
}
