//! One request and its response, as the parts that serve it share it.

mod body;
mod client;
mod deadlines;
mod facts;
mod writing;

use writing::Untaken;
pub(super) use writing::{FIRST_WINDOW, Turn};

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use http::{Method, Uri};

use super::clock::Tick;
use super::conn::Conn;
use super::discard::Discard;
use super::pace::Pace;
use super::server::Server;
use super::timeouts::Timeouts;
use crate::events::target;
use crate::phase::Phase;
use crate::shutdown::ConnectionState;
use crate::sync::Lock;
use body::Suspect;

use facts::Facts;
pub(super) use facts::Known;

/// The deadlines, flags and wakers of one request.
///
/// On HTTP/1 a connection has one, used again for each request; the number of the request (`epoch`)
/// keeps a handle that outlives its request from touching the next one. On HTTP/2 each stream has
/// its own.
///
/// Memory order: what the owning task writes, it alone reads back; words that other tasks write
/// (`request body`, `Deadlines`) are followed by waking the owner, and a wake synchronises with the poll
/// that it causes. So the words themselves are `Relaxed`.
pub(super) struct Exchange {
    pub server: Arc<Server>,
    pub conn: Arc<Conn>,
    state: AtomicU8,
    /// When the request began: its first byte (HTTP/1) or its head (HTTP/2).
    began: AtomicU64,
    header_deadline: AtomicU64,
    read_deadline: AtomicU64,
    write_deadline: AtomicU64,
    /// Until when the response's head must be there.
    response_head_deadline: AtomicU64,
    /// The request body, while the handler waits for it.
    pub read: Pace,
    /// The response, while the peer does not take it: on HTTP/1 the connection's bytes, on HTTP/2 the
    /// stream's.
    pub write: Pace,
    /// HTTP/2: what h2 holds of the response.
    untaken: Untaken,
    /// The handler has moved more than a deadline: `cross.terms` counts.
    own_terms: AtomicBool,
    /// The request body is not over: not read to its end, not given up.
    body_open: AtomicBool,
    /// The response body is over: read to its end, failed or dropped.
    response_over: AtomicBool,
    /// The connection must not be used for another request.
    close: AtomicBool,
    /// What came between two requests is for the owner to look at, not for hyper.
    unclear: AtomicBool,
    read_expired: AtomicBool,
    write_expired: AtomicBool,
    /// The answer was an upgrade.
    upgraded: AtomicBool,
    /// HTTP/1: the response goes out in chunks.
    chunked: AtomicBool,
    /// HTTP/1: when the transport is next to look whether the client is gone; 0: now.
    look: AtomicU64,
    /// A leftover body has been looked at once.
    looked: AtomicBool,
    tail: AtomicBool,
    /// HTTP/2: the reader of the body waits for the client to hear `100 Continue`.
    continue_asked: AtomicBool,
    /// The drain does not refuse this request.
    admitted: AtomicBool,
    /// Why the request was given up, as `facts` spells it; 0: it was not.
    end: AtomicU8,
    /// [`body::HeldCall`]
    held_call: AtomicU8,
    http2: bool,
    /// The clock as read in this poll of the owner; 0 when it has not been, `NEVER` between two polls.
    now: AtomicU64,
    cross: Lock<Cross>,
}

/// What other tasks write and read.
#[derive(Default)]
struct Cross {
    epoch: u64,
    owner: Option<Waker>,
    /// Who waits for the request body.
    reader: Option<Waker>,
    /// A stall that is one if the reader still waits.
    suspect: Option<Suspect>,
    /// HTTP/2: who waits for h2 to have written the response's data, to end it.
    taker: Option<Waker>,
    /// A request body that was dropped unread.
    leftover: Option<Discard>,
    /// The timeouts of this request, if its handler has changed them. Boxed because it is rare.
    terms: Option<Box<Timeouts>>,
    /// `GET /path`. One string for a connection's life, so that naming a request allocates nothing.
    name: String,
    /// What layers have learnt of the request.
    facts: Facts,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Between two requests.
    Idle = 0,
    /// Its head is arriving.
    Head = 1,
    /// The handler has it.
    Handler = 2,
    /// The response's head is known.
    Responding = 3,
    /// The answer is out; what is left of the request is being read away.
    Discarding = 4,
    /// The write side is closed; the peer is given time to read.
    Lingering = 5,
}

impl State {
    fn from_word(word: u8) -> Self {
        match word {
            0 => State::Idle,
            1 => State::Head,
            2 => State::Handler,
            3 => State::Responding,
            4 => State::Discarding,
            _ => State::Lingering,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Head => "reading the head",
            State::Handler => "in the handler",
            State::Responding => "sending the response",
            State::Discarding => "discarding the request body",
            State::Lingering => "lingering",
        }
    }
}

/// A name longer than this is cut, with an ellipsis to say so.
const LONGEST_NAME: usize = 256;

impl Exchange {
    pub fn new(server: Arc<Server>, conn: Arc<Conn>, owner: Option<Waker>, http2: bool) -> Self {
        Exchange {
            server,
            conn,
            state: AtomicU8::new(State::Idle as u8),
            began: AtomicU64::new(0),
            header_deadline: AtomicU64::new(Tick::NEVER.0),
            read_deadline: AtomicU64::new(Tick::NEVER.0),
            write_deadline: AtomicU64::new(Tick::NEVER.0),
            response_head_deadline: AtomicU64::new(Tick::NEVER.0),
            read: Pace::new(),
            write: Pace::new(),
            untaken: Untaken::default(),
            own_terms: AtomicBool::new(false),
            body_open: AtomicBool::new(false),
            response_over: AtomicBool::new(false),
            close: AtomicBool::new(false),
            unclear: AtomicBool::new(false),
            read_expired: AtomicBool::new(false),
            write_expired: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            chunked: AtomicBool::new(false),
            look: AtomicU64::new(Tick::NEVER.0),
            looked: AtomicBool::new(false),
            tail: AtomicBool::new(false),
            continue_asked: AtomicBool::new(false),
            admitted: AtomicBool::new(true),
            end: AtomicU8::new(0),
            held_call: AtomicU8::new(0),
            http2,
            now: AtomicU64::new(0),
            cross: Lock::new(Cross {
                owner,
                ..Cross::default()
            }),
        }
    }

    /// Held for a few words' time, never over an await; nothing in it can panic half way.
    fn cross(&self) -> MutexGuard<'_, Cross> {
        self.cross.lock()
    }

    // === the clock ===

    /// The owner begins a poll: the clock is read again when it is next asked.
    pub fn begin_poll(&self) {
        self.now.store(0, Relaxed);
    }

    /// The owner's poll is over: another task may ask for the time before the next one.
    pub fn end_poll(&self) {
        self.now.store(Tick::NEVER.0, Relaxed);
    }

    /// Whether the owner is polling now. (To be asked by what may itself run within that poll.)
    fn in_poll(&self) -> bool {
        self.now.load(Relaxed) != Tick::NEVER.0
    }

    /// The time of this poll, read once a poll and only if it is needed; between two polls, the time.
    pub fn now(&self) -> Tick {
        match Tick(self.now.load(Relaxed)) {
            Tick(0) => {
                let now = self.server.clock.now();
                // Another task may ask while the poll ends: it must leave nothing behind.
                let _ = self.now.compare_exchange(0, now.0, Relaxed, Relaxed);
                now
            }
            Tick::NEVER => self.server.clock.now(),
            now => now,
        }
    }

    // === a request's way ===

    pub fn state(&self) -> State {
        State::from_word(self.state.load(Relaxed))
    }

    pub fn counts_as(&self) -> ConnectionState {
        if self.upgraded() {
            return ConnectionState::Upgraded;
        }
        match self.state() {
            State::Idle => ConnectionState::Idle,
            State::Head => ConnectionState::Head,
            State::Handler => ConnectionState::Handler,
            State::Responding => ConnectionState::Responding,
            State::Discarding => ConnectionState::Discarding,
            State::Lingering => ConnectionState::Lingering,
        }
    }

    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// HTTP/1: the first byte of a request came at `at`.
    pub fn begin_head(&self, at: Tick) {
        let timeouts = &self.server.timeouts;
        self.set_state(State::Head);
        self.began.store(at.0, Relaxed);
        self.admit();
        let header = at.after(timeouts.effective_read_header());
        self.header_deadline.store(header.0, Relaxed);
    }

    /// The head is parsed and the handler is about to be called. Gives the request its number.
    pub fn begin_request(&self, method: &Method, uri: &Uri, has_body: bool) -> u64 {
        let now = self.now();
        let timeouts = &self.server.timeouts;
        if self.state() != State::Head {
            // HTTP/2, or a pipelined request that was in hyper's buffer: its head took no time.
            self.began.store(now.0, Relaxed);
            self.admit();
        }
        // The number first, and all that a handle of the request before could still move under the same
        // lock: from here on such a handle does nothing.
        let mut cross = self.cross();
        cross.epoch += 1;
        let read = self.began().after(timeouts.effective_read());
        self.read_deadline.store(read.0, Relaxed);
        let write = now.after(timeouts.effective_write());
        self.write_deadline.store(write.0, Relaxed);
        let head = now.after(timeouts.effective_response_head());
        self.response_head_deadline.store(head.0, Relaxed);
        self.set_state(State::Handler);
        self.read.forget_wait();
        self.read.reset();
        self.write.reset();
        self.own_terms.store(false, Relaxed);
        self.body_open.store(has_body, Relaxed);
        self.response_over.store(false, Relaxed);
        self.read_expired.store(false, Relaxed);
        self.write_expired.store(false, Relaxed);
        self.upgraded.store(false, Relaxed);
        self.chunked.store(false, Relaxed);
        self.looked.store(false, Relaxed);
        self.end.store(0, Relaxed);
        self.conn.count_request();
        cross.reader = None;
        cross.suspect = None;
        cross.leftover = None;
        cross.facts = Facts::default();
        let name = &mut cross.name;
        name.clear();
        name.push_str(method.as_str());
        name.push(' ');
        let path = target(uri);
        if path.len() <= LONGEST_NAME {
            name.push_str(path);
        } else {
            let cut = (0..=LONGEST_NAME)
                .rev()
                .find(|at| path.is_char_boundary(*at))
                .unwrap_or(0);
            name.push_str(&path[..cut]);
            name.push('…');
        }
        cross.epoch
    }

    /// The socket has taken everything that was written. `true` when that ends the response.
    pub fn flushed(&self) -> bool {
        self.written_before_call();
        if !self.response_over.load(Relaxed) || self.state() != State::Responding {
            return false;
        }
        if self.body_open() {
            // Under the lock under which another task may end the body, so that one of the two sees the
            // other: it wakes us if it finds us discarding.
            let cross = self.cross();
            if self.body_open() {
                self.set_state(State::Discarding);
                self.write_deadline.store(Tick::NEVER.0, Relaxed);
                // The answer is out: what is left of the request may take as long as the next one.
                let idle = self.now().after(self.server.timeouts.effective_idle());
                self.header_deadline.store(idle.0, Relaxed);
                return true;
            }
            drop(cross);
        }
        self.become_idle();
        true
    }

    /// Decides, when a request begins, whether the drain may refuse it: not if its client could not know of
    /// the drain.
    fn admit(&self) {
        let admitted = !self.draining() || self.conn.is_uninformed();
        self.admitted.store(admitted, Relaxed);
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.load(Relaxed)
    }

    pub(super) fn draining(&self) -> bool {
        self.server.lifecycle.phase() >= Phase::Draining
    }

    pub fn become_idle(&self) {
        if self.server.lifecycle.phase() >= Phase::LameDuck && !self.must_close() {
            // The answer did not ask to leave: its head left too early, or it was spared.
            self.conn.set_uninformed();
        }
        self.set_state(State::Idle);
        self.began.store(self.now().0, Relaxed);
    }

    pub fn response_over(&self) {
        self.response_over.store(true, Relaxed);
    }

    /// When this request began, or since when the connection has been idle.
    pub fn began(&self) -> Tick {
        Tick(self.began.load(Relaxed))
    }

    // === flags ===

    pub fn must_close(&self) -> bool {
        self.close.load(Relaxed)
    }

    pub fn close_after_this(&self) {
        self.close.store(true, Relaxed);
    }

    pub fn unclear(&self) -> bool {
        self.unclear.load(Relaxed)
    }

    pub fn set_unclear(&self) {
        self.unclear.store(true, Relaxed);
    }

    pub fn is_http2(&self) -> bool {
        self.http2
    }

    pub fn upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    pub fn set_upgraded(&self) {
        self.upgraded.store(true, Relaxed);
    }

    /// `true` the first time it is asked for a request.
    pub fn first_look(&self) -> bool {
        !self.looked.swap(true, Relaxed)
    }

    /// HTTP/2: only the end of the response is left, in h2's hands. `true` the first time.
    pub fn become_tail(&self) -> bool {
        !self.tail.swap(true, AcqRel)
    }

    pub fn is_tail(&self) -> bool {
        self.tail.load(Acquire)
    }

    pub fn write_deadline(&self) -> Tick {
        Tick(self.write_deadline.load(Relaxed))
    }

    pub fn write_expired(&self) -> bool {
        self.write_expired.load(Relaxed)
    }

    pub fn read_expired(&self) -> bool {
        self.read_expired.load(Relaxed)
    }

    pub fn body_open(&self) -> bool {
        self.body_open.load(Relaxed)
    }
}
