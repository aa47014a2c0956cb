//! One request and its response, as the parts that serve it share it.
//!
//! [`Exchange`] is their meeting place: transport, service, bodies and the connection's task each say there what they
//! have seen. Its parts own their words: [`state`] where the request stands, [`deadlines`] until when, [`body`] what is
//! left to be read, [`untaken`] what is left to be taken.

mod activity;
mod body;
mod changes;
mod client;
mod deadlines;
mod expiry;
mod facts;
mod reading;
mod request;
mod state;
mod untaken;
mod writing;

pub(super) use activity::Upgraded;
pub(super) use expiry::FIRST_WINDOW;
pub(super) use request::Exchange;
pub(super) use state::State;
pub(super) use untaken::Turn;
