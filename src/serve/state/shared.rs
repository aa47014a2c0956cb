//! The state that all connections of one listener share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Extensions;
use hyper::server::conn::http1;

use crate::conn_info::ConnInfo;
use crate::events::EventSink;
use crate::phase::Lifecycle;
use crate::serve::config::{Limits, Protocols, Timeouts};
use crate::serve::time::Clock;
use crate::track::BodyEnd;

/// The maximum size of a head that hyper reads by default.
const HYPERS_BUFFER: usize = 408 * 1024;

pub(crate) type OnConnection = Arc<dyn Fn(&ConnInfo, &mut Extensions) + Send + Sync>;

/// The configuration of one listener's connections, and the drain's orders to them. It knows no connection.
pub(crate) struct Shared {
    pub clock: Clock,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub lifecycle: Lifecycle,
    pub events: EventSink,
    /// The server owner's hook, which adds to every request of a connection.
    pub on_connection: Option<OnConnection>,
    pub extensions: bool,
    pub protocols: Protocols,
    pub http1: http1::Builder,
    close_idle: AtomicBool,
    cut: AtomicBool,
    timed_out: AtomicU64,
    client_gone: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        timeouts: Timeouts,
        limits: Limits,
        lifecycle: Lifecycle,
        events: EventSink,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // The server's own deadlines distinguish idle from header time, and answer.
            .header_read_timeout(None)
            // A client that has sent everything may still be reading.
            .half_close(true)
            .max_header_size(limits.max_header_bytes);
        if limits.max_header_bytes > HYPERS_BUFFER {
            http1.max_buf_size(limits.max_header_bytes);
        }
        if let Some(most) = limits.max_headers {
            http1.max_headers(most);
        }
        Shared {
            http1,
            clock: Clock::new(),
            timeouts,
            limits,
            lifecycle,
            events,
            on_connection: None,
            extensions: true,
            protocols: Protocols::default(),
            close_idle: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            timed_out: AtomicU64::new(0),
            client_gone: AtomicU64::new(0),
        }
    }

    /// Counts a request that ended early for this reason. Rare: a healthy request does not write here.
    pub(crate) fn count_end(&self, end: BodyEnd) {
        let count = match end {
            BodyEnd::Timeout => &self.timed_out,
            BodyEnd::ClientGone => &self.client_gone,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of requests that a deadline ended.
    pub(crate) fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Returns the number of requests whose client was gone.
    pub(crate) fn client_gone(&self) -> u64 {
        self.client_gone.load(Ordering::Relaxed)
    }

    /// Returns `true` if idle connections must close now: no request is in flight any more.
    pub(crate) fn closing_idle(&self) -> bool {
        // Acquire, with the Release below: a task that is woken for it sees it, without relying on the waker.
        self.close_idle.load(Ordering::Acquire)
    }

    /// Returns `true` if everything must end now.
    pub(crate) fn cutting(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn set_close_idle(&self) {
        self.close_idle.store(true, Ordering::Release);
    }

    pub(crate) fn set_cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}
