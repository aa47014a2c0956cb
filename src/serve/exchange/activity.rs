//! The view of an exchange from outside its connection's task.

use super::request::Exchange;
use super::state::State;
use crate::serve::state::{Activity, Conn, InFlight, Known};
use crate::shutdown::ConnectionState;

const UPGRADED: &str = "upgraded";

impl Exchange {
    pub(crate) fn in_flight(&self, visit: &mut dyn FnMut(InFlight<'_>)) {
        let state = match self.upgraded() {
            true => UPGRADED,
            false => self.state().as_str(),
        };
        visit(InFlight {
            began: self.began(),
            known: &|| self.known(),
            state,
        });
    }
}

/// The activity of an HTTP/1 connection.
impl Activity for Exchange {
    fn each_in_flight(&self, _: &Conn, visit: &mut dyn FnMut(InFlight<'_>)) {
        match self.state() {
            State::Idle | State::Lingering => {}
            state => visit(InFlight {
                began: self.began(),
                known: &|| self.known(),
                state: state.as_str(),
            }),
        }
    }

    fn counts_as(&self) -> ConnectionState {
        Exchange::counts_as(self)
    }
}

/// A connection that belongs to its user, known by the request that upgraded it.
pub(crate) struct Upgraded(pub Known);

impl Activity for Upgraded {
    fn each_in_flight(&self, conn: &Conn, visit: &mut dyn FnMut(InFlight<'_>)) {
        visit(InFlight {
            began: conn.accepted,
            known: &|| self.0.clone(),
            state: UPGRADED,
        });
    }

    fn counts_as(&self) -> ConnectionState {
        ConnectionState::Upgraded
    }
}
