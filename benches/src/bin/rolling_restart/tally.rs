//! What became of the requests.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::fleet::Instance;

/// More lines than this help nobody.
const MAX_DETAILS: usize = 200;

/// Everything that can go wrong with a request.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Written, and no complete answer came.
    Lost,
    /// A ready instance did not take a new connection.
    Refused,
    /// HTTP/2: the server said that it did not process the stream, so a client may try again.
    Retriable,
    Answered503,
    /// Another status than 200, a wrong body, or bytes nobody asked for.
    Wrong,
    /// No instance was ready for a long time.
    NoneReady,
}

#[derive(Default)]
pub struct Tally {
    requests: AtomicU64,
    connections: AtomicU64,
    troubles: [AtomicU64; 6],
    details: Mutex<Vec<String>>,
}

impl Tally {
    /// A request got its right and complete answer.
    pub fn answered(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub fn trouble(&self, trouble: Trouble, instance: Option<&Instance>, how: &str) {
        if !matches!(trouble, Trouble::Refused | Trouble::NoneReady) {
            self.requests.fetch_add(1, Relaxed);
        }
        self.troubles[trouble as usize].fetch_add(1, Relaxed);
        let line = match instance {
            Some(instance) => format!("{trouble:?}: {instance}: {how}"),
            None => format!("{trouble:?}: {how}"),
        };
        let mut details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        if details.len() < MAX_DETAILS {
            details.push(line);
        }
    }

    pub fn print_details(&self) {
        let details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        for line in details.iter() {
            println!("{line}");
        }
        if details.len() == MAX_DETAILS {
            println!("(only the first {MAX_DETAILS} are shown)");
        }
    }

    pub fn is_clean(&self) -> bool {
        self.requests.load(Relaxed) > 0
            && self.troubles.iter().all(|count| count.load(Relaxed) == 0)
    }

    pub fn summary(&self, protocol: &str, restarts: u32) -> String {
        let count = |trouble: Trouble| self.troubles[trouble as usize].load(Relaxed);
        let mut line = format!(
            "rolling_restart {protocol}: {restarts} restarts, {} requests, {} lost, {} refused, {} answered 503",
            self.requests.load(Relaxed),
            count(Trouble::Lost),
            count(Trouble::Refused),
            count(Trouble::Answered503),
        );
        for (name, trouble) in [
            ("retriable", Trouble::Retriable),
            ("wrong", Trouble::Wrong),
            ("without a ready instance", Trouble::NoneReady),
        ] {
            // The retriable ones belong to HTTP/2 and are always told there.
            let always = protocol == "http2" && matches!(trouble, Trouble::Retriable);
            if always || count(trouble) > 0 {
                line += &format!(", {} {name}", count(trouble));
            }
        }
        line += &format!(" ({} connections)", self.connections.load(Relaxed));
        line
    }
}
