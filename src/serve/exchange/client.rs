//! The client of a request, and its disappearance.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::request::Exchange;
use super::state::State;
use crate::events::{CloseReason, Event};
use crate::serve::time::Tick;
use crate::track::BodyEnd;

impl Exchange {
    /// Returns `true` while the handler has the request or its response is being sent, unless it is an upgrade.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.state(), State::Handler | State::Responding) && !self.upgraded()
    }

    /// Returns `true` while the handler waits for more of the request body.
    pub(crate) fn waits_for_body(&self) -> bool {
        self.body_open() && self.read.waits()
    }

    pub(crate) fn client_gone(&self) -> bool {
        self.given_up_for(BodyEnd::ClientGone)
    }

    /// Records an error of the transport.
    pub(crate) fn failed(&self, error: &io::Error) {
        if self.is_served() && is_gone(error) {
            self.client_left();
        }
    }

    /// Records that the client left while its request was being served.
    pub(crate) fn client_left(&self) {
        if !self.gives_up(BodyEnd::ClientGone) {
            return;
        }
        if !self.http2 {
            self.conn.set_close_reason(CloseReason::ClientGone);
        }
        self.emit(|request| Event::ClientGone {
            request,
            age: self.server.clock.now().since(self.began()),
        });
    }

    // === the next look; only the connection's own task uses it ===

    pub(crate) fn look(&self) -> Tick {
        Tick(self.look.load(Relaxed))
    }

    pub(crate) fn set_look(&self, at: Tick) {
        self.look.store(at.0, Relaxed);
    }

    /// Returns the time at which the connection's task polls the transport for the look.
    pub(crate) fn look_deadline(&self) -> Tick {
        match self.look() {
            // It has passed, and the transport looks as soon as it is asked to write.
            Tick(0) => Tick::NEVER,
            at => at,
        }
    }

    /// Marks the look as due if its time has come.
    pub(crate) fn look_if_due(&self, now: Tick) {
        if self.look_deadline() <= now {
            self.set_look(Tick(0));
        }
    }
}

/// Returns `true` if an error of the transport means that the client is gone.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable,
        NotConnected, TimedOut, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | NotConnected
            | TimedOut
            | UnexpectedEof
    )
}
