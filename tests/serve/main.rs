//! The server over HTTP/1, and over HTTP/2 where both keep the same promise: connections, deadlines, drains, clients
//! that misbehave.
#![cfg(feature = "serve")]

mod accept;
mod bad_input;
mod cancel;
mod client_gone;
mod corners;
mod deadlines;
mod drain;
mod empty_lines;
mod framing;
mod go_table;
mod must_close;
mod rates;
mod refusals;
mod server;
mod services;
mod slow_reader;
mod sockets;
mod start;
mod testing;
mod upgrade;

#[path = "../support/mod.rs"]
mod support;
