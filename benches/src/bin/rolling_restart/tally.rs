//! The outcomes of the requests.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::fleet::Instance;

/// The maximum of lines that is still useful.
const MAX_DETAILS: usize = 200;

/// The ways in which a request can fail.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The request was written, and no complete answer came.
    Lost,
    /// A ready instance did not take a new connection.
    Refused,
    /// HTTP/2: the server declared that it did not process the stream, so a client may retry.
    Retriable,
    Answered503,
    /// Another status than 200, a wrong body, or unrequested bytes.
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
    /// Counts a right and complete answer.
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
            // Retriable requests belong to HTTP/2 and are always reported there.
            let always = protocol == "http2" && matches!(trouble, Trouble::Retriable);
            if always || count(trouble) > 0 {
                line += &format!(", {} {name}", count(trouble));
            }
        }
        line += &format!(" ({} connections)", self.connections.load(Relaxed));
        line
    }
}
