//! Serves connections: an accept loop that loses none, Go's timeouts, and a drain.
mod accept;
mod answer;
mod app;
mod builder;
mod clock;
mod conn;
mod deadlines;
mod discard;
mod error;
mod exchange;
mod farewell;
mod h1;
mod h2;
mod io;
mod limits;
mod listener;
mod one;
mod parked;
mod request_body;
mod response_body;
mod server;
mod service;
mod task;
mod timeouts;
mod timer;

pub use app::App;
pub use builder::Serve;
pub use deadlines::Deadlines;
pub use error::ServeError;
pub use io::ServeIo;
pub use limits::{InvalidLimit, Limits};
pub use listener::Listener;
pub use one::{ServeConnection, serve_connection_with_timeouts};
pub use request_body::{BodyError, RequestBody};
pub use timeouts::{InvalidTimeout, Timeouts};

/// Serves `service` on `listener` until the process is told to stop, and drains.
pub fn serve<L: Listener, A: App>(listener: L, service: A) -> Serve<L, A> {
    Serve::new(listener, service)
}

/// [`serve`] with these timeouts: `serve(listener, service).timeouts(timeouts)`.
pub fn serve_with_timeouts<L: Listener, A: App>(
    listener: L,
    service: A,
    timeouts: Timeouts,
) -> Serve<L, A> {
    serve(listener, service).timeouts(timeouts)
}
