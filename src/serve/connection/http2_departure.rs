//! The departure of an HTTP/2 connection, and the next of its deadlines.

use std::sync::atomic::Ordering;

use crate::phase::Lifecycle;
use crate::serve::config::fixed::GOAWAY_GRACE;
use crate::serve::exchange::Streams;
use crate::serve::state::{Goaway, goaway, goaway_wait};
use crate::serve::time::Tick;

/// The progress of a connection's departure.
pub(crate) struct Departure {
    /// The time to send GOAWAY, within the lame-duck window.
    leave_at: Tick,
    /// `true` for a connection that came while others were asked to leave: its client, or the balancer before it, does
    /// not know better yet, and one GOAWAY after another would only make it connect again.
    came_late: bool,
    /// `true` once the client was asked to open no more streams.
    announced: bool,
    /// The time of hyper's GOAWAY.
    goaway_since: Option<Tick>,
    /// The time from which h2 considers the GOAWAY acknowledged, although the client has not acknowledged it.
    acknowledged: Option<Tick>,
    /// `true` if the client did not take everything when h2 last wrote.
    behind: bool,
}

/// The kind of a deadline of an HTTP/2 connection.
#[derive(Clone, Copy)]
pub(crate) enum Due {
    Idle,
    Leave,
    Unacknowledged,
    Lingered,
    HeadTooSlow,
    /// The client does not take the output.
    Slow,
    /// The client does not take the end of a response.
    Tail,
}

impl Departure {
    pub(crate) fn new(lifecycle: &Lifecycle) -> Self {
        Departure {
            leave_at: Tick::NEVER,
            came_late: goaway(lifecycle) == Goaway::Soon,
            announced: false,
            goaway_since: None,
            acknowledged: None,
            behind: false,
        }
    }

    /// Follows the process's phase. Returns `true` if the connection must be asked to leave now.
    pub(crate) fn follow_phase(&mut self, streams: &Streams) -> bool {
        if self.goaway_since.is_some() {
            return false;
        }
        let server = &streams.server;
        match goaway(&server.lifecycle) {
            Goaway::NotYet => false,
            Goaway::Soon => {
                // The moment is drawn once.
                if self.leave_at == Tick::NEVER && !self.came_late {
                    let wait = goaway_wait(&server.lifecycle, &streams.conn);
                    self.leave_at = server.clock.now().after(Some(wait));
                }
                false
            }
            Goaway::Now => true,
        }
    }

    /// Asks the client to open no more streams, some time before the last stream that counts is fixed. hyper does both
    /// within one round trip, and by then a client may have requests on their way, which are refused. Returns `false`
    /// if the client was asked before.
    pub(crate) fn announce(&mut self, streams: &Streams, now: Tick) -> bool {
        if self.announced {
            return false;
        }
        self.announced = true;
        self.leave_at = now.after(Some(streams.leaving.notice_time()));
        streams.leaving.notice.store(true, Ordering::Relaxed);
        true
    }

    /// Records that the connection is asked to leave. Returns `false` if it was before.
    pub(crate) fn begin(&mut self, streams: &Streams, now: Tick) -> bool {
        let first = self.goaway_since.is_none();
        if first {
            self.goaway_since = Some(now);
            streams.leaving.begin(now);
        }
        first
    }

    /// Makes h2 consider the GOAWAY acknowledged: it would wait for ever. It then names the last stream that counts,
    /// and closes. Returns `false` if it has done so before.
    pub(crate) fn acknowledge(&mut self, streams: &Streams, now: Tick) -> bool {
        if self.acknowledged.is_some() {
            return false;
        }
        self.acknowledged = Some(now);
        streams.leaving.acknowledge.store(true, Ordering::Relaxed);
        true
    }

    /// Notes that h2 has written all it could, after this many streams had ended.
    pub(crate) fn note_written(&mut self, streams: &Streams, ended: usize) {
        let leaving = &streams.leaving;
        if streams.conn.write_is_blocked() {
            self.behind |= leaving.holds_answers();
            return;
        }
        streams.settled.store(true, Ordering::Relaxed);
        leaving.all_written(ended, streams.transport.moved());
        if self.behind {
            self.behind = false;
            streams.quiet_from(streams.server.clock.now());
        }
    }

    /// Returns the time since when the connection has been idle: no stream is open, and no response waits for the
    /// client to take it. Other output that h2 cannot write, as in answer to a flood of PINGs that never reads, does
    /// not count.
    fn idle_since(&self, streams: &Streams) -> Tick {
        if self.behind || streams.leaving.holds_answers() {
            return Tick::NEVER;
        }
        streams.idle_since()
    }

    /// Returns the next deadline and its kind.
    pub(crate) fn next_deadline(&self, streams: &Streams) -> (Tick, Due) {
        let timeouts = &streams.server.timeouts;
        let leaving = &streams.leaving;
        if leaving.linger_until() != Tick::NEVER {
            return (leaving.linger_until(), Due::Lingered);
        }
        let idle_since = self.idle_since(streams);
        let end = match (self.goaway_since, self.acknowledged, idle_since) {
            (_, _, Tick::NEVER) => Tick::NEVER,
            (Some(_), Some(acknowledged), _) => acknowledged.after(Some(GOAWAY_GRACE)),
            (Some(since), None, idle) => since.after(Some(leaving.wait())).max(idle),
            (None, _, idle) => idle.after(timeouts.effective_idle()),
        };
        let (what, leave_at) = match self.goaway_since {
            Some(_) => (Due::Unacknowledged, Tick::NEVER),
            None => (Due::Idle, self.leave_at),
        };
        let transport = &streams.transport;
        let head = streams.head_since();
        [
            (end, what),
            (leave_at, Due::Leave),
            (streams.conn.write_stall_deadline(timeouts), Due::Slow),
            (transport.look_deadline(), Due::Slow),
            (
                head.after(timeouts.effective_read_header()),
                Due::HeadTooSlow,
            ),
            (
                transport.window_deadline(timeouts.effective_min_write_rate()),
                Due::Slow,
            ),
            (streams.tail_deadline(), Due::Tail),
        ]
        .into_iter()
        .min_by_key(|(tick, _)| *tick)
        .unwrap_or((Tick::NEVER, Due::Leave))
    }
}
