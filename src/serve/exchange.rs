//! One request and its response, as the parts that serve it share it.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use http::{Method, Uri};
use hyper::body::Incoming;

use super::clock::Tick;
use super::conn::Conn;
use super::discard::Discard;
use super::server::Server;
use crate::events::{Event, Timeout};

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
    /// Since when the handler has been waiting for the body; `NEVER` when it is not.
    read_blocked: AtomicU64,
    /// The request body is not over: not read to its end, not given up.
    body_open: AtomicBool,
    /// The response body is over: read to its end, failed or dropped.
    response_over: AtomicBool,
    /// The connection must not be used for another request.
    close: AtomicBool,
    read_expired: AtomicBool,
    write_expired: AtomicBool,
    /// The answer was an upgrade.
    upgraded: AtomicBool,
    /// A leftover body has been looked at once.
    looked: AtomicBool,
    tail: AtomicBool,
    http2: bool,
    /// The clock as read in this poll of the owner; 0 when it has not been.
    now: AtomicU64,
    cross: Mutex<Cross>,
}

/// What other tasks write and read.
#[derive(Default)]
struct Cross {
    epoch: u64,
    owner: Option<Waker>,
    /// Who waits for the request body.
    reader: Option<Waker>,
    /// A request body that was dropped unread.
    leftover: Option<Discard>,
    /// `GET /path`. One string for a connection's life, so that naming a request allocates nothing.
    name: String,
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
            read_blocked: AtomicU64::new(Tick::NEVER.0),
            body_open: AtomicBool::new(false),
            response_over: AtomicBool::new(false),
            close: AtomicBool::new(false),
            read_expired: AtomicBool::new(false),
            write_expired: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            tail: AtomicBool::new(false),
            http2,
            now: AtomicU64::new(0),
            cross: Mutex::new(Cross {
                owner,
                ..Cross::default()
            }),
        }
    }

    /// Held for a few words' time, never over an await; nothing in it can panic half way.
    fn cross(&self) -> MutexGuard<'_, Cross> {
        self.cross.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === the clock ===

    /// The owner begins a poll: the clock is read again when it is next asked.
    pub fn begin_poll(&self) {
        self.now.store(0, Relaxed);
    }

    /// The time of this poll. Read once a poll, and only if somebody asks.
    pub fn now(&self) -> Tick {
        match self.now.load(Relaxed) {
            0 => {
                let now = self.server.clock.now();
                self.now.store(now.0, Relaxed);
                now
            }
            now => Tick(now),
        }
    }

    // === a request's way ===

    pub fn state(&self) -> State {
        State::from_word(self.state.load(Relaxed))
    }

    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// HTTP/1: the first byte of a request came at `at`.
    pub fn begin_head(&self, at: Tick) {
        let timeouts = &self.server.timeouts;
        self.set_state(State::Head);
        self.began.store(at.0, Relaxed);
        let header = at.after(timeouts.effective_read_header());
        self.header_deadline.store(header.0, Relaxed);
        let read = at.after(timeouts.effective_read());
        self.read_deadline.store(read.0, Relaxed);
    }

    /// The head is parsed and the handler is about to be called. Gives the request its number.
    pub fn begin_request(&self, method: &Method, uri: &Uri, has_body: bool) -> u64 {
        let now = self.now();
        let timeouts = &self.server.timeouts;
        if self.state() != State::Head {
            // HTTP/2, or a pipelined request that was in hyper's buffer: its head took no time.
            self.began.store(now.0, Relaxed);
            let read = now.after(timeouts.effective_read());
            self.read_deadline.store(read.0, Relaxed);
        }
        self.set_state(State::Handler);
        let write = now.after(timeouts.effective_write());
        self.write_deadline.store(write.0, Relaxed);
        self.read_blocked.store(Tick::NEVER.0, Relaxed);
        self.body_open.store(has_body, Relaxed);
        self.response_over.store(false, Relaxed);
        self.read_expired.store(false, Relaxed);
        self.write_expired.store(false, Relaxed);
        self.upgraded.store(false, Relaxed);
        self.looked.store(false, Relaxed);
        self.conn.count_request();
        let mut cross = self.cross();
        cross.epoch += 1;
        cross.reader = None;
        cross.leftover = None;
        let name = &mut cross.name;
        name.clear();
        name.push_str(method.as_str());
        name.push(' ');
        // A CONNECT names where it leads to, and has no path.
        let path = match uri.path() {
            "" => uri.authority().map_or("", |to| to.as_str()),
            path => path,
        };
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
        if !self.response_over.load(Relaxed) || self.state() != State::Responding {
            return false;
        }
        if self.body_open.load(Relaxed) {
            self.set_state(State::Discarding);
            self.write_deadline.store(Tick::NEVER.0, Relaxed);
        } else {
            self.become_idle();
        }
        true
    }

    pub fn become_idle(&self) {
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

    pub fn name(&self) -> String {
        self.cross().name.clone()
    }

    // === flags ===

    pub fn must_close(&self) -> bool {
        self.close.load(Relaxed)
    }

    pub fn close_after_this(&self) {
        self.close.store(true, Relaxed);
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

    // === deadlines ===

    pub fn header_deadline(&self) -> Tick {
        Tick(self.header_deadline.load(Relaxed))
    }

    /// Brings the head's deadline forward (the drain has a shorter one).
    pub fn hasten_head(&self, deadline: Tick) {
        self.header_deadline.fetch_min(deadline.0, Relaxed);
    }

    /// The write side is closed and the peer is read away until `until`.
    pub fn linger_until(&self, until: Tick) {
        self.set_state(State::Lingering);
        self.header_deadline.store(until.0, Relaxed);
    }

    /// The earliest deadline of a request that is with its handler or being answered.
    pub fn deadline(&self) -> Tick {
        let mut deadline = Tick(self.write_deadline.load(Relaxed));
        if self.reading() {
            deadline = deadline.min(Tick(self.read_deadline.load(Relaxed)));
            deadline = deadline.min(self.read_stall_deadline());
        }
        deadline.min(self.conn.write_stall_deadline(&self.server.timeouts))
    }

    fn reading(&self) -> bool {
        self.body_open.load(Relaxed) && !self.read_expired.load(Relaxed)
    }

    fn read_stall_deadline(&self) -> Tick {
        match (
            Tick(self.read_blocked.load(Relaxed)),
            self.server.timeouts.effective_read_stall(),
        ) {
            (Tick::NEVER, _) | (_, None) => Tick::NEVER,
            (since, stall) => since.after(stall),
        }
    }

    /// Which deadline has passed, if one has.
    pub fn expired(&self, now: Tick) -> Option<Timeout> {
        if Tick(self.write_deadline.load(Relaxed)) <= now {
            Some(Timeout::Write)
        } else if self.conn.write_stall_deadline(&self.server.timeouts) <= now {
            Some(Timeout::WriteStall)
        } else if self.reading() && Tick(self.read_deadline.load(Relaxed)) <= now {
            Some(Timeout::Read)
        } else if self.reading() && self.read_stall_deadline() <= now {
            Some(Timeout::ReadStall)
        } else {
            None
        }
    }

    /// The request body took too long: its reader is told, and the connection will close.
    pub fn expire_read(&self, kind: Timeout) {
        self.tell_timeout(kind);
        self.read_expired.store(true, Relaxed);
        self.close_after_this();
        let reader = self.cross().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The response took too long and nothing of it was sent: the handler is to be cancelled, and
    /// what is answered in its stead has `grace` to be sent.
    pub fn expire_write(&self, kind: Timeout, now: Tick, grace: Duration) {
        self.tell_timeout(kind);
        self.write_expired.store(true, Relaxed);
        self.close_after_this();
        self.write_deadline.store(now.after(Some(grace)).0, Relaxed);
    }

    pub fn tell_timeout(&self, kind: Timeout) {
        self.server.events.tell(|| Event::Timeout {
            peer: self.conn.info.peer,
            kind,
        });
    }

    pub fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, &self.read_deadline, wait);
    }

    pub fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>) {
        self.move_deadline(epoch, &self.write_deadline, wait);
    }

    fn move_deadline(&self, epoch: u64, deadline: &AtomicU64, wait: Option<Duration>) {
        let cross = self.cross();
        // Under the lock that numbers requests: the deadline that is moved is this request's.
        if cross.epoch != epoch {
            return;
        }
        deadline.store(self.server.clock.now().after(wait).0, Relaxed);
        let owner = cross.owner.clone();
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    // === the owner and the request body ===

    /// HTTP/2: the task of the stream, known from its first poll on.
    pub fn set_owner(&self, waker: &Waker) {
        let mut cross = self.cross();
        match &mut cross.owner {
            Some(owner) => owner.clone_from(waker),
            owner => *owner = Some(waker.clone()),
        }
    }

    /// The reader waits for more of the body of request `epoch`. `false` when it need not, because
    /// the body has expired.
    pub fn wait_for_body(&self, epoch: u64, waker: &Waker) -> bool {
        let mut cross = self.cross();
        if cross.epoch != epoch {
            return true;
        }
        // Under the lock under which `expire_read` takes the waker, so that one of the two sees the other.
        if self.read_expired.load(Relaxed) {
            return false;
        }
        match &mut cross.reader {
            Some(reader) => reader.clone_from(waker),
            reader => *reader = Some(waker.clone()),
        }
        if self.server.timeouts.effective_read_stall().is_some()
            && Tick(self.read_blocked.load(Relaxed)) == Tick::NEVER
        {
            self.read_blocked.store(self.server.clock.now().0, Relaxed);
            let owner = cross.owner.clone();
            drop(cross);
            // The reader may be on another task than the one that holds the timer.
            if let Some(owner) = owner {
                owner.wake();
            }
        }
        true
    }

    pub fn body_progressed(&self) {
        self.read_blocked.store(Tick::NEVER.0, Relaxed);
    }

    /// The body of request `epoch` was read to its end.
    pub fn body_complete(&self, epoch: u64) {
        self.end_body(epoch, false);
    }

    /// The body of request `epoch` broke, timed out, or will not be asked for: what follows it on the
    /// wire is no request.
    pub fn body_broken(&self, epoch: u64) {
        self.end_body(epoch, true);
    }

    fn end_body(&self, epoch: u64, broken: bool) {
        let cross = self.cross();
        if cross.epoch != epoch {
            return;
        }
        if broken {
            // The body stays open: it was not read to its end, so the close must linger.
            self.close_after_this();
        } else {
            self.body_open.store(false, Relaxed);
        }
        let owner = cross.owner.clone();
        drop(cross);
        // It may be that only this was waited for before the next request.
        if self.state() == State::Discarding {
            if let Some(owner) = owner {
                owner.wake();
            }
        }
    }

    /// The body of request `epoch` was dropped unread: the owner decides what becomes of the rest. On
    /// HTTP/2 dropping it tells the client to stop.
    pub fn leave_body(&self, epoch: u64, body: Incoming) {
        if self.http2 {
            return;
        }
        let mut cross = self.cross();
        if cross.epoch != epoch {
            return;
        }
        cross.leftover = Some(Discard::new(body, self.server.limits.discard, epoch));
        let owner = cross.owner.clone();
        drop(cross);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    pub fn has_leftover(&self) -> bool {
        self.body_open() && self.cross().leftover.is_some()
    }

    pub fn take_leftover(&self) -> Option<Discard> {
        if !self.body_open() {
            return None;
        }
        self.cross().leftover.take()
    }

    /// The owner reads the rest away when the answer is out.
    pub fn discard_later(&self, leftover: Discard) {
        self.cross().leftover = Some(leftover);
    }
}
