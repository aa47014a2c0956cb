//! A page to watch a drain: the phase and its clock, the requests in flight and their ages, refusals and timeouts, and
//! at the end the requests that were cut.
//!
//! [`StatusPage`] is a tower service for the admin port. That port [observes](crate::serve::Serve::observe) the
//! shutdown, so that the page stays available to the very end and shows the report. On a port that itself takes part in
//! the drain, a watcher is a request in flight like any other, and the drain waits for it.
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
//! To mount it in an axum router beside other pages: `Router::new().nest_service("/status", page)`.
//!
//! | path | content |
//! |---|---|
//! | `/` | the page: one file without external resources |
//! | `/live` | server-sent events: a snapshot at once, on a change of phase or an event (at most 10 per second), and every 500 ms; the last one has the report. At most 64 watchers at once, then 503 |
//! | `/snapshot` | the same JSON once, for curl |
//!
//! The page serves GET and HEAD only, to [allowed hosts](crate::AllowedHosts) (others get 421), and not to other sites
//! (403). It shows paths (without their queries), peers, and errors of the service: keep it on a port that only
//! operators can reach.
//!
//! # The JSON
//!
//! * `title`, `instance` (differs for each process)
//! * `phase`, `phase_ms` (the time spent in it), `lame_duck_ms` and `lame_duck_left_ms` (the window's length and rest;
//!   0 outside of it), `drain_ms` and `drain_left_ms` (the same for the time after which requests in flight are cut),
//!   `phases` (the duration of each)
//! * `connections`: `total`, `by_state` (the names of [`ConnectionState`](crate::shutdown::ConnectionState)), `opened`,
//!   `closed` (by reason)
//! * `in_flight`: `count`, `peak` (`null` without [`StatusPage::in_flight`]), `requests` (the oldest first, at most
//!   100: `age_ms`, `method`, `path`, `route` or `null`, `peer` or `null`, `state`), `more` (the number not listed)
//! * `counters`: `kind`, `what`, `count`; kinds are `phase`, `readiness`, `timeout`, `refused`, `cut`, `error`,
//!   `rate_limit`, `ignored`
//! * `events`: the last 100, the latest first: `kind`, `what`, `detail`, `peer`, `count`, `first_ms` and `last_ms`
//!   (ages). Repetitions within a second of each other share one entry with a count, however long they go on. A full
//!   list drops the oldest entry of the most frequent kind, so that a flood or a periodic event does not flush a single
//!   one
//! * `report`: `null`, and at the end `clean`, `cut` (the number of requests), `text`
//!
//! # Cost
//!
//! Without a watcher only the [listener](StatusPage::event_sink) has a cost. All watchers together cost at most one
//! snapshot per 50 ms, which visits each connection and lists the oldest 100 requests in flight. A snapshot is made on
//! demand; none is queued for a reader that does not read.

mod body;
mod page;
mod recent_events;
mod service;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use body::StatusBody;
pub use page::StatusPage;
pub use service::StatusFuture;
