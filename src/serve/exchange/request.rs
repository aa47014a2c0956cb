use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use http::{Method, Uri};

use super::body::{Reading, RequestBodyState};
use super::deadlines::RequestDeadlines;
use super::pace::Pace;
use super::poll_time::PollTime;
use super::state::{RequestState, State};
use super::untaken::Untaken;
use crate::events::target;
use crate::phase::Phase;
use crate::serve::config::Timeouts;
use crate::serve::state::{Conn, Facts, Shared};
use crate::serve::time::Tick;
use crate::shutdown::ConnectionState;
use crate::sync::{Lock, set_waker};

/// The deadlines, flags and wakers of one request.
///
/// An HTTP/1 connection has one exchange and uses it again for each request; the number of the request (`epoch`) keeps
/// a handle that outlives its request from touching the next one. On HTTP/2 each stream has its own.
///
/// Memory order: only the owning task reads its own writes; a write of other tasks (`request body`, `Deadlines`) is
/// followed by a wake of the owner, and a wake synchronises with the poll that it causes. So the words themselves are
/// `Relaxed`.
pub(crate) struct Exchange {
    pub server: Arc<Shared>,
    pub conn: Arc<Conn>,
    state: RequestState,
    pub(crate) deadlines: RequestDeadlines,
    /// The pace of the request body, while the handler waits for it.
    pub read: Pace,
    /// The pace of the response, while the peer does not take it: on HTTP/1 of the connection's bytes, on HTTP/2 of the
    /// stream's.
    pub write: Pace,
    /// HTTP/2: the part of the response that h2 holds.
    pub(crate) untaken: Untaken,
    pub(crate) body: RequestBodyState,
    /// `true` if the handler has changed more than a deadline: `shared.terms` counts.
    pub(crate) own_terms: AtomicBool,
    /// `true` once the response body is over: read to its end, failed or dropped.
    response_over: AtomicBool,
    /// `true` if the connection must not be used for another request.
    close: AtomicBool,
    /// `true` if the owner, not hyper, must inspect the bytes between two requests.
    unclear: AtomicBool,
    /// `true` if the response was an upgrade.
    upgraded: AtomicBool,
    /// HTTP/1: `true` if the response is chunked.
    chunked: AtomicBool,
    /// HTTP/1: the time at which the transport next looks for the client's end; 0 means now.
    pub(crate) look: AtomicU64,
    tail: AtomicBool,
    /// `true` if the drain does not refuse this request.
    admitted: AtomicBool,
    /// The end for which the request was given up, as `facts` encodes it; 0 means that it was not.
    pub(crate) end: AtomicU8,
    pub(crate) http2: bool,
    poll_time: PollTime,
    shared: Lock<SharedState>,
}

/// The data that several tasks write and read.
#[derive(Default)]
pub(crate) struct SharedState {
    pub epoch: u64,
    pub owner: Option<Waker>,
    pub reading: Reading,
    /// HTTP/2: the waker of the task that ends the response once h2 has written its data.
    pub taker: Option<Waker>,
    /// The timeouts of this request, if its handler has changed them. Boxed because it is rare.
    pub terms: Option<Box<Timeouts>>,
    /// The name, as in `GET /path`. One string per connection, so that naming a request allocates nothing.
    pub name: String,
    /// The facts that layers have learnt about the request.
    pub facts: Facts,
    /// The duties that a route's own layer has taken over from the layers further out.
    pub taken_over: u8,
}

/// The length above which a name is truncated and marked with an ellipsis.
const LONGEST_NAME: usize = 256;

impl Exchange {
    pub(crate) fn new(
        server: Arc<Shared>,
        conn: Arc<Conn>,
        owner: Option<Waker>,
        http2: bool,
    ) -> Self {
        Exchange {
            server,
            conn,
            state: RequestState::new(),
            deadlines: RequestDeadlines::new(),
            read: Pace::new(),
            write: Pace::new(),
            untaken: Untaken::default(),
            body: RequestBodyState::new(),
            own_terms: AtomicBool::new(false),
            response_over: AtomicBool::new(false),
            close: AtomicBool::new(false),
            unclear: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            chunked: AtomicBool::new(false),
            look: AtomicU64::new(Tick::NEVER.0),
            tail: AtomicBool::new(false),
            admitted: AtomicBool::new(true),
            end: AtomicU8::new(0),
            http2,
            poll_time: PollTime::new(),
            shared: Lock::new(SharedState {
                owner,
                ..SharedState::default()
            }),
        }
    }

    /// Locks the shared data, for a few words' time and never over an await; no panic can leave it half changed.
    pub(crate) fn shared(&self) -> MutexGuard<'_, SharedState> {
        self.shared.lock()
    }

    /// Sets the waker for a moved deadline or a left body: that of the task that polled last.
    pub(crate) fn set_owner(&self, waker: &Waker) {
        set_waker(&mut self.shared().owner, waker);
    }

    // === the clock ===

    /// Begins a poll of the owner: the clock is read again at the next use.
    pub(crate) fn begin_poll(&self) {
        self.poll_time.begin();
    }

    /// Ends the owner's poll: another task may ask for the time before the next one.
    pub(crate) fn end_poll(&self) {
        self.poll_time.end();
    }

    /// Returns `true` while the owner is polling, for callers that may themselves run within that poll.
    pub(crate) fn in_poll(&self) -> bool {
        self.poll_time.in_poll()
    }

    /// Returns the time of this poll, read at most once per poll; between two polls, the current time.
    pub(crate) fn now(&self) -> Tick {
        self.poll_time.get(&self.server.clock)
    }

    // === the stages of a request: each transition of its state ===

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Returns the time at which this request began, or the connection became idle.
    pub(crate) fn began(&self) -> Tick {
        self.state.began()
    }

    pub(crate) fn counts_as(&self) -> ConnectionState {
        match self.upgraded() {
            true => ConnectionState::Upgraded,
            false => self.state().counts_as(),
        }
    }

    /// HTTP/1: records that the first byte of a request came at `at`.
    pub(crate) fn begin_head(&self, at: Tick) {
        self.state.head_begins(at);
        self.admit();
        let header = self.server.timeouts.effective_read_header();
        self.deadlines.set_header(at.after(header));
    }

    /// Begins a request whose head is parsed, before its handler is called, and numbers it.
    pub(crate) fn begin_request(
        &self,
        method: &Method,
        uri: &Uri,
        has_body: bool,
        grpc: bool,
    ) -> u64 {
        let now = self.now();
        let timeouts = &self.server.timeouts;
        if self.state() != State::Head {
            self.state.began_with_its_request(now);
            self.admit();
        }
        // The number first, and under the same lock all that a handle of the previous request could still move: from
        // here on such a handle has no effect.
        let mut shared = self.shared();
        shared.epoch += 1;
        self.deadlines.begin(
            self.began().after(timeouts.effective_read()),
            now.after(timeouts.effective_write()),
            now.after(timeouts.effective_response_head()),
        );
        self.state.request_begins();
        self.read.forget_wait();
        self.read.reset();
        self.write.reset();
        self.own_terms.store(false, Relaxed);
        self.body.begin(has_body);
        self.response_over.store(false, Relaxed);
        self.upgraded.store(false, Relaxed);
        self.chunked.store(false, Relaxed);
        self.end.store(0, Relaxed);
        self.conn.count_request();
        shared.reading.begin();
        shared.facts = Facts::new(grpc);
        shared.taken_over = 0;
        name(&mut shared.name, method, target(uri));
        shared.epoch
    }

    /// Records that the response's head is there.
    pub(crate) fn begin_response(&self) {
        self.state.response_begins();
    }

    pub(crate) fn response_over(&self) {
        self.response_over.store(true, Relaxed);
    }

    /// Records that the socket has taken all output. Returns `true` if that ends the response.
    pub(crate) fn flushed(&self) -> bool {
        self.body.written_before_call();
        if !self.response_over.load(Relaxed) || self.state() != State::Responding {
            return false;
        }
        if self.body_open() {
            // Under the lock under which another task may end the body, so that one of the two sees the other: that
            // task wakes this one if it finds it discarding.
            let shared = self.shared();
            if self.body_open() {
                self.state.discard_begins();
                self.deadlines.end_write();
                // The response is sent: the rest of the request may take as long as the next one.
                let idle = self.server.timeouts.effective_idle();
                self.deadlines.set_header(self.now().after(idle));
                return true;
            }
            drop(shared);
        }
        self.become_idle();
        true
    }

    pub(crate) fn become_idle(&self) {
        if self.server.lifecycle.phase() >= Phase::LameDuck && !self.must_close() {
            // The response carried no request to leave: its head was sent too early, or it was spared.
            self.conn.set_uninformed();
        }
        self.state.becomes_idle(self.now());
    }

    /// Records that the write side is closed and input is discarded until `until`.
    pub(crate) fn linger_until(&self, until: Tick) {
        self.state.linger_begins();
        self.deadlines.set_header(until);
    }

    // === the drain ===

    /// Decides, when a request begins, if the drain may refuse it: not if its client could not know of the drain.
    fn admit(&self) {
        let admitted = !self.draining() || self.conn.is_uninformed();
        self.admitted.store(admitted, Relaxed);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Relaxed)
    }

    pub(crate) fn draining(&self) -> bool {
        self.server.lifecycle.phase() >= Phase::Draining
    }

    // === flags ===

    pub(crate) fn must_close(&self) -> bool {
        self.close.load(Relaxed)
    }

    pub(crate) fn close_after_this(&self) {
        self.close.store(true, Relaxed);
    }

    pub(crate) fn unclear(&self) -> bool {
        self.unclear.load(Relaxed)
    }

    pub(crate) fn set_unclear(&self) {
        self.unclear.store(true, Relaxed);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2
    }

    pub(crate) fn upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    pub(crate) fn set_upgraded(&self) {
        self.upgraded.store(true, Relaxed);
    }

    /// Returns `true` if the response is chunked.
    pub(crate) fn chunked(&self) -> bool {
        self.chunked.load(Relaxed)
    }

    pub(crate) fn set_chunked(&self) {
        self.chunked.store(true, Relaxed);
    }

    /// HTTP/2: records that only the end of the response is left, in h2's hands. Returns `true` the first time.
    pub(crate) fn become_tail(&self) -> bool {
        !self.tail.swap(true, AcqRel)
    }

    pub(crate) fn is_tail(&self) -> bool {
        self.tail.load(Acquire)
    }
}

fn name(name: &mut String, method: &Method, path: &str) {
    name.clear();
    name.push_str(method.as_str());
    name.push(' ');
    if path.len() <= LONGEST_NAME {
        name.push_str(path);
        return;
    }
    let cut = (0..=LONGEST_NAME)
        .rev()
        .find(|at| path.is_char_boundary(*at))
        .unwrap_or(0);
    name.push_str(&path[..cut]);
    name.push('…');
}
