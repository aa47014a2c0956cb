//! One request and its response, as the parts that serve it share it.
//!
//! [`Exchange`] is their meeting place: transport, service, bodies and the connection's task each record there what
//! they have seen. Each part owns its words: [`state`] holds the request's stage, [`deadlines`] its deadlines, [`body`]
//! the unread input, [`untaken`] the untaken output.

mod activity;
mod body;
mod changes;
mod client;
mod deadlines;
mod discard;
mod expiry;
mod facts;
mod fault;
mod leaving;
mod open_stream;
mod pace;
mod poll_time;
mod reading;
mod request;
mod state;
mod streams;
mod untaken;
mod writing;

pub use fault::ServiceFault;

pub(crate) use activity::Upgraded;
pub(crate) use discard::Discard;
pub(crate) use expiry::FIRST_WINDOW;
pub(crate) use leaving::Leaving;
pub(crate) use open_stream::OpenStream;
pub(crate) use pace::Verdict;
pub(crate) use request::Exchange;
pub(crate) use state::State;
pub(crate) use streams::{PIECE, Streams};
