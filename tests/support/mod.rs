//! Parts shared by the tests over real sockets: a server to test, clients that see the wire, and small services.

// Each test binary uses a part of this module only.
#![allow(dead_code, unused_imports)]

mod again;
mod answer;
mod app;
mod at_once;
mod frames;
mod gate;
mod knowing;
mod odd;
mod raw;
mod server;
mod stream;
pub mod wire;

pub use again::again;
pub use answer::{Answer, answers};
pub use app::{App, Body, app, channel, empty, full, reply};
pub use at_once::{AtOnce, at_once};
pub use frames::{Heard, Tap, h2_connect};
pub use gate::Gate;
pub use knowing::Knowing;
pub use odd::{Odd, WriteSide};
pub use raw::{Ending, How, Raw};
pub use server::{Server, Setup};
pub use stream::{Door, Memory, Stream};
pub use wire::{Frame, Frames, frames, kind};

use std::time::Duration;

/// The longest that a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(8);

/// Returns milliseconds.
pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Awaits `future`, or panics with what was waited for.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}
