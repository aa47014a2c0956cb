//! A page to watch a drain: the phase and its clock, what is in flight and since when, what was refused or
//! timed out, and at the end what was cut.
//!
//! [`StatusPage`] is a tower service for the admin port, one that
//! [observes](crate::serve::Serve::observe) the shutdown: it is there to the very end, and shows the report.
//! On a port that takes part in the drain itself, a watcher is a request in flight like any other, and the
//! drain waits for it.
//!
//! ```
//! use lameduck::{Shutdown, status::StatusPage};
//!
//! # async fn run(public: tokio::net::TcpListener, admin: tokio::net::TcpListener, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::new();
//! let handle = shutdown.handle();
//! let page = StatusPage::new(&handle).title("shop");
//! tokio::spawn(lameduck::serve(admin, page).observe(&handle).into_future());
//! let report = lameduck::serve(public, app).shutdown(shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Among other pages of an axum router: `Router::new().nest_service("/status", page)`.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page: one file, nothing from anywhere else |
//! | `/live` | server-sent events: a snapshot at once, when the phase moves or something happens (at most 10 a second), and every 500 ms; the last one has the report. At most 64 watch at once, then 503 |
//! | `/snapshot` | the same JSON once, for curl |
//!
//! GET and HEAD only, for the hosts that are [allowed](crate::AllowedHosts) (others get a 421), and not for other
//! sites (403). The page tells who asked for what: paths (without their queries), peers, errors of
//! the service. Keep it on a port that only operators reach.
//!
//! # The JSON
//!
//! * `title`, `instance` (another for each process)
//! * `phase`, `phase_ms` (how long in it), `lame_duck_ms` and `lame_duck_left_ms` (the window's length and
//!   what is left of it; 0 outside of it), `drain_ms` and `drain_left_ms` (the same of the time after which
//!   what is in flight is cut), `phases` (how long each lasted)
//! * `connections`: `total`, `by_state` (the names of
//!   [`ConnectionState`](crate::shutdown::ConnectionState)), `opened`, `closed` (by why)
//! * `in_flight`: `count`, `peak` (`null` without [`StatusPage::in_flight`]), `requests` (the oldest first,
//!   at most 100: `age_ms`, `method`, `path`, `route` or `null`, `peer` or `null`, `state`), `more` (how
//!   many are not named)
//! * `counters`: `kind`, `what`, `count`; kinds are `phase`, `readiness`, `timeout`, `refused`, `cut`, `error`,
//!   `rate_limit`, `ignored`
//! * `events`: the last 100, the latest first: `kind`, `what`, `detail`, `peer`, `count`, `first_ms` and
//!   `last_ms` (how long ago). The same within a second is one entry with a count, however long it goes on,
//!   and a full list forgets the oldest of what it has most of: what comes in a flood or every few seconds
//!   does not flush what came once
//! * `report`: `null`, and at the end `clean`, `cut` (how many), `text`
//!
//! # What it costs
//!
//! Without a watcher nothing but the [listener](StatusPage::events). All watchers together cost a snapshot
//! every 50 ms at most: it looks at each connection, and names the oldest 100 of what is in flight. A snapshot is made
//! when its reader asks for it; for a reader that does not, none waits.

mod body;
mod happenings;
mod page;
mod service;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use body::StatusBody;
pub use page::StatusPage;
pub use service::StatusFuture;
