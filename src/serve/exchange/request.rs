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
/// On HTTP/1 a connection has one, used again for each request; the number of the request (`epoch`)
/// keeps a handle that outlives its request from touching the next one. On HTTP/2 each stream has
/// its own.
///
/// Memory order: what the owning task writes, it alone reads back; words that other tasks write
/// (`request body`, `Deadlines`) are followed by waking the owner, and a wake synchronises with the poll
/// that it causes. So the words themselves are `Relaxed`.
pub(crate) struct Exchange {
    pub server: Arc<Shared>,
    pub conn: Arc<Conn>,
    state: RequestState,
    pub(crate) deadlines: RequestDeadlines,
    /// The request body, while the handler waits for it.
    pub read: Pace,
    /// The response, while the peer does not take it: on HTTP/1 the connection's bytes, on HTTP/2 the
    /// stream's.
    pub write: Pace,
    /// HTTP/2: what h2 holds of the response.
    pub(crate) untaken: Untaken,
    pub(crate) body: RequestBodyState,
    /// The handler has moved more than a deadline: `cross.terms` counts.
    pub(crate) own_terms: AtomicBool,
    /// The response body is over: read to its end, failed or dropped.
    response_over: AtomicBool,
    /// The connection must not be used for another request.
    close: AtomicBool,
    /// What came between two requests is for the owner to look at, not for hyper.
    unclear: AtomicBool,
    /// The answer was an upgrade.
    upgraded: AtomicBool,
    /// HTTP/1: the response goes out in chunks.
    chunked: AtomicBool,
    /// HTTP/1: when the transport is next to look whether the client is gone; 0: now.
    pub(crate) look: AtomicU64,
    tail: AtomicBool,
    /// The drain does not refuse this request.
    admitted: AtomicBool,
    /// Why the request was given up, as `facts` spells it; 0: it was not.
    pub(crate) end: AtomicU8,
    pub(crate) http2: bool,
    poll_time: PollTime,
    cross: Lock<Cross>,
}

/// What other tasks write and read.
#[derive(Default)]
pub(crate) struct Cross {
    pub epoch: u64,
    pub owner: Option<Waker>,
    pub reading: Reading,
    /// HTTP/2: who waits for h2 to have written the response's data, to end it.
    pub taker: Option<Waker>,
    /// The timeouts of this request, if its handler has changed them. Boxed because it is rare.
    pub terms: Option<Box<Timeouts>>,
    /// `GET /path`. One string for a connection's life, so that naming a request allocates nothing.
    pub name: String,
    /// What layers have learnt of the request.
    pub facts: Facts,
    /// What a route's own layer has taken over from the layers further out.
    pub taken_over: u8,
}

/// A name longer than this is cut, with an ellipsis to say so.
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
            cross: Lock::new(Cross {
                owner,
                ..Cross::default()
            }),
        }
    }

    /// Held for a few words' time, never over an await; nothing in it can panic half way.
    pub(crate) fn cross(&self) -> MutexGuard<'_, Cross> {
        self.cross.lock()
    }

    /// Who is to be woken when a deadline moves or the body is left: the task that polled last.
    pub(crate) fn set_owner(&self, waker: &Waker) {
        set_waker(&mut self.cross().owner, waker);
    }

    // === the clock ===

    /// The owner begins a poll: the clock is read again when it is next asked.
    pub(crate) fn begin_poll(&self) {
        self.poll_time.begin();
    }

    /// The owner's poll is over: another task may ask for the time before the next one.
    pub(crate) fn end_poll(&self) {
        self.poll_time.end();
    }

    /// Whether the owner is polling now. (To be asked by what may itself run within that poll.)
    pub(crate) fn in_poll(&self) -> bool {
        self.poll_time.in_poll()
    }

    /// The time of this poll, read once a poll and only if it is needed; between two polls, the time.
    pub(crate) fn now(&self) -> Tick {
        self.poll_time.get(&self.server.clock)
    }

    // === a request's way: each transition of its state ===

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// When this request began, or since when the connection has been idle.
    pub(crate) fn began(&self) -> Tick {
        self.state.began()
    }

    pub(crate) fn counts_as(&self) -> ConnectionState {
        match self.upgraded() {
            true => ConnectionState::Upgraded,
            false => self.state().counts_as(),
        }
    }

    /// HTTP/1: the first byte of a request came at `at`.
    pub(crate) fn begin_head(&self, at: Tick) {
        self.state.head_begins(at);
        self.admit();
        let header = self.server.timeouts.effective_read_header();
        self.deadlines.set_header(at.after(header));
    }

    /// The head is parsed and the handler is about to be called. Gives the request its number.
    pub(crate) fn begin_request(&self, method: &Method, uri: &Uri, has_body: bool) -> u64 {
        let now = self.now();
        let timeouts = &self.server.timeouts;
        if self.state() != State::Head {
            self.state.began_with_its_request(now);
            self.admit();
        }
        // The number first, and all that a handle of the request before could still move under the same
        // lock: from here on such a handle does nothing.
        let mut cross = self.cross();
        cross.epoch += 1;
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
        cross.reading.begin();
        cross.facts = Facts::default();
        cross.taken_over = 0;
        name(&mut cross.name, method, target(uri));
        cross.epoch
    }

    /// The response's head is there.
    pub(crate) fn begin_response(&self) {
        self.state.response_begins();
    }

    pub(crate) fn response_over(&self) {
        self.response_over.store(true, Relaxed);
    }

    /// The socket has taken everything that was written. `true` when that ends the response.
    pub(crate) fn flushed(&self) -> bool {
        self.body.written_before_call();
        if !self.response_over.load(Relaxed) || self.state() != State::Responding {
            return false;
        }
        if self.body_open() {
            // Under the lock under which another task may end the body, so that one of the two sees the
            // other: it wakes us if it finds us discarding.
            let cross = self.cross();
            if self.body_open() {
                self.state.discard_begins();
                self.deadlines.end_write();
                // The answer is out: what is left of the request may take as long as the next one.
                let idle = self.server.timeouts.effective_idle();
                self.deadlines.set_header(self.now().after(idle));
                return true;
            }
            drop(cross);
        }
        self.become_idle();
        true
    }

    pub(crate) fn become_idle(&self) {
        if self.server.lifecycle.phase() >= Phase::LameDuck && !self.must_close() {
            // The answer did not ask to leave: its head left too early, or it was spared.
            self.conn.set_uninformed();
        }
        self.state.becomes_idle(self.now());
    }

    /// The write side is closed and the peer is read away until `until`.
    pub(crate) fn linger_until(&self, until: Tick) {
        self.state.linger_begins();
        self.deadlines.set_header(until);
    }

    // === the drain ===

    /// Decides, when a request begins, whether the drain may refuse it: not if its client could not know of
    /// the drain.
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

    /// The response goes out in chunks.
    pub(crate) fn chunked(&self) -> bool {
        self.chunked.load(Relaxed)
    }

    pub(crate) fn set_chunked(&self) {
        self.chunked.store(true, Relaxed);
    }

    /// HTTP/2: only the end of the response is left, in h2's hands. `true` the first time.
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
