//! The name of a request for observers, and its end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::fault::ServiceFault;
use super::request::Exchange;
use super::state::State;
use crate::control::{Change, Fact, RequestControl};
use crate::events::{Event, EventSink, RequestInfo};
use crate::phase::Lifecycle;
use crate::serve::state::Known;

use crate::track::BodyEnd;

impl Exchange {
    pub(crate) fn known(&self) -> Known {
        let peer = self.conn.info.peer;
        match self.state() {
            // The stored name is that of the previous request.
            State::Idle | State::Head => Known::of_peer(peer),
            _ => {
                let shared = self.shared();
                Known::new(peer, shared.name.clone(), shared.facts.clone())
            }
        }
    }

    /// Emits an event that names the request.
    pub(crate) fn emit(&self, event: impl for<'a> FnOnce(RequestInfo<'a>) -> Event<'a>) {
        let events = &self.server.events;
        if events.has_listener() {
            let known = self.known();
            events.emit(|| event(known.info()));
        }
    }

    /// Gives the request up for this reason, unless it already has another.
    pub(crate) fn give_up(&self, end: BodyEnd) {
        let _ = self.gives_up(end);
    }

    /// Gives the request up, and returns `true` if this is the reason that counts.
    pub(crate) fn gives_up(&self, end: BodyEnd) -> bool {
        let none = 0;
        let given_up = self.end.compare_exchange(none, word(end), Relaxed, Relaxed);
        if given_up.is_ok() {
            self.server.count_end(end);
        }
        given_up.is_ok()
    }

    pub(crate) fn given_up_for(&self, end: BodyEnd) -> bool {
        self.end.load(Relaxed) == word(end)
    }

    /// Records that hyper has dropped the handler or the response's body before its end: the server or a panic has
    /// ended it, or else the client has. On HTTP/1 the transport knows: there a body is also dropped at the end of the
    /// length that its response declares.
    pub(crate) fn abandoned(&self) {
        if std::thread::panicking() {
            self.give_up(BodyEnd::Panic);
        } else if self.http2 && !self.server.cutting() {
            self.client_left();
        }
    }

    fn is_current(&self, epoch: u64) -> bool {
        self.shared().epoch == epoch
    }
}

/// Encodes the end; 0 stands for no end.
fn word(end: BodyEnd) -> u8 {
    end as u8 + 1
}

impl RequestControl for Exchange {
    fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>) {
        Exchange::set_read_deadline(self, epoch, wait);
    }

    fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>) {
        Exchange::set_write_deadline(self, epoch, wait);
    }

    fn change_deadline(&self, epoch: u64, change: Change) {
        Exchange::change_deadline(self, epoch, change);
    }

    fn describe(&self, epoch: u64, with: &mut dyn FnMut(RequestInfo<'_>)) -> bool {
        let current = self.is_current(epoch);
        if current {
            with(self.known().info());
        }
        current
    }

    fn is_admitted(&self, epoch: u64) -> bool {
        self.is_current(epoch) && self.is_admitted() && self.draining()
    }

    fn learn(&self, epoch: u64, fact: Fact<'_>) {
        let mut shared = self.shared();
        if shared.epoch != epoch {
            return;
        }
        let facts = &mut shared.facts;
        match fact {
            Fact::Client(ip) => facts.client = Some(ip),
            Fact::Route(route) => facts.route = Some(route.clone()),
            Fact::Id(id) => facts.id = Some(id.clone()),
        }
    }

    fn take_over(&self, epoch: u64, what: u8) {
        let mut shared = self.shared();
        if shared.epoch == epoch {
            shared.taken_over |= what;
        }
    }

    fn taken_over(&self, epoch: u64) -> u8 {
        let shared = self.shared();
        match shared.epoch == epoch {
            true => shared.taken_over,
            false => 0,
        }
    }

    fn event_sink(&self) -> &EventSink {
        &self.server.events
    }

    fn lifecycle(&self) -> Option<&Lifecycle> {
        Some(&self.server.lifecycle)
    }

    fn ends_by(&self, epoch: u64, end: BodyEnd) {
        if self.is_current(epoch) {
            self.give_up(end);
        }
    }

    fn ended_by(&self, epoch: u64) -> Option<BodyEnd> {
        if !self.is_current(epoch) {
            return None;
        }
        let word = usize::from(self.end.load(Relaxed));
        let given_up = word.checked_sub(1).and_then(|at| BodyEnd::ALL.get(at));
        given_up
            .copied()
            .or_else(|| self.server.cutting().then_some(BodyEnd::Cut))
    }
}

impl Exchange {
    /// Emits a fault of the service for the known request.
    pub(crate) fn emit_fault(&self, fault: ServiceFault) {
        let events = &self.server.events;
        if events.has_listener() {
            let (error, known) = (&fault, self.known());
            let request = known.info();
            events.emit(|| Event::ServiceError { error, request });
        }
    }
}
