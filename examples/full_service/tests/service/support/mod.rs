//! The base of the tests: the real binary as a child process, and a small HTTP/1 client that hides nothing. Every wait
//! is for a condition, and has an end.

// Each test file uses a part of this module only.
#![allow(dead_code)]

pub mod api;
pub mod client;
pub mod collector;
pub mod postgres;
pub mod prometheus;
pub mod redis;
pub mod service;

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

/// A limit longer than anything here takes on a busy machine: reached only in a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until the answer is `Some`; panics with `what` when patience ends.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns an address that was free a moment ago, for a process that cannot choose one itself.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("its address")
}
