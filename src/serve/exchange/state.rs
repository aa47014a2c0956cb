//! The stages of a request, and the transitions between them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::serve::time::Tick;
use crate::shutdown::ConnectionState;

/// The stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The pause between two requests.
    Idle = 0,
    /// The head is arriving.
    Head = 1,
    /// The handler has the request.
    Handler = 2,
    /// The response's head is known.
    Responding = 3,
    /// The response is sent; the rest of the request is being discarded.
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

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Head => "reading the head",
            State::Handler => "in the handler",
            State::Responding => "sending the response",
            State::Discarding => "discarding the request body",
            State::Lingering => "lingering",
        }
    }

    pub(crate) fn counts_as(self) -> ConnectionState {
        match self {
            State::Idle => ConnectionState::Idle,
            State::Head => ConnectionState::Head,
            State::Handler => ConnectionState::Handler,
            State::Responding => ConnectionState::Responding,
            State::Discarding => ConnectionState::Discarding,
            State::Lingering => ConnectionState::Lingering,
        }
    }
}

/// The state of one exchange. Each transition is a method here, and nothing else writes the state:
///
/// | method | from | to | called when |
/// |---|---|---|---|
/// | [`head_begins`](Self::head_begins) | `Idle`; `Head`, for a head that is refused | `Head` | HTTP/1: its first byte has come |
/// | [`request_begins`](Self::request_begins) | `Head`; `Idle`, on HTTP/2; any but `Lingering`, for a pipelined one | `Handler` | hyper has parsed the head |
/// | [`response_begins`](Self::response_begins) | `Handler` | `Responding` | the response's head is there |
/// | [`discard_begins`](Self::discard_begins) | `Responding` | `Discarding` | the response is out before the request's body |
/// | [`becomes_idle`](Self::becomes_idle) | `Responding`, `Discarding` | `Idle` | both are over |
/// | [`linger_begins`](Self::linger_begins) | any | `Lingering` | the write side is being shut |
pub(crate) struct RequestState {
    word: AtomicU8,
    /// The time at which the request began, with its first byte (HTTP/1) or its head (HTTP/2), or the idle time began.
    began: AtomicU64,
}

impl RequestState {
    pub(crate) fn new() -> Self {
        RequestState {
            word: AtomicU8::new(State::Idle as u8),
            began: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self) -> State {
        State::from_word(self.word.load(Relaxed))
    }

    pub(crate) fn began(&self) -> Tick {
        Tick(self.began.load(Relaxed))
    }

    fn enter(&self, state: State) {
        self.word.store(state as u8, Relaxed);
    }

    pub(crate) fn head_begins(&self, at: Tick) {
        self.enter(State::Head);
        self.began.store(at.0, Relaxed);
    }

    /// Records a head that took no time: on HTTP/2, or of a pipelined request that was in hyper's buffer.
    pub(crate) fn began_with_its_request(&self, now: Tick) {
        self.began.store(now.0, Relaxed);
    }

    pub(crate) fn request_begins(&self) {
        self.enter(State::Handler);
    }

    pub(crate) fn response_begins(&self) {
        self.enter(State::Responding);
    }

    pub(crate) fn discard_begins(&self) {
        self.enter(State::Discarding);
    }

    pub(crate) fn becomes_idle(&self, now: Tick) {
        self.enter(State::Idle);
        self.began.store(now.0, Relaxed);
    }

    pub(crate) fn linger_begins(&self) {
        self.enter(State::Lingering);
    }
}
