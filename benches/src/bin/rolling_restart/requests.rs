//! What the clients ask, and whether the answer is right; the same for both protocols.

use std::{
    fmt, iter,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time;

use crate::{Load, fleet::Instance, tally::Trouble};

const ECHO_LENGTH: usize = 512;

/// A client that finds no ready instance for longer than this counts it as trouble.
const NONE_READY_LIMIT: Duration = Duration::from_secs(5);

pub enum Ask {
    Slow { path: String },
    Echo { body: Vec<u8> },
}

impl Ask {
    /// One of the two, by chance.
    pub fn any() -> Self {
        if fastrand::bool() {
            let path = format!("/slow?ms={}", fastrand::u64(0..=50));
            Ask::Slow { path }
        } else {
            let body = iter::repeat_with(fastrand::alphanumeric)
                .map(|letter| letter as u8)
                .take(ECHO_LENGTH)
                .collect();
            Ask::Echo { body }
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Slow { path } => write!(f, "GET {path}"),
            Ask::Echo { .. } => write!(f, "POST /echo"),
        }
    }
}

/// Counts a complete answer.
pub fn judge(load: &Load, instance: &Instance, ask: &Ask, status: u16, body: &[u8]) {
    let trouble = |trouble, how: String| load.tally.trouble(trouble, Some(instance), &how);
    match (status, ask) {
        (503, _) => trouble(Trouble::Answered503, ask.to_string()),
        (200, Ask::Echo { body: sent }) if body != sent => {
            trouble(Trouble::Wrong, format!("{ask}: another body came back"));
        }
        (200, _) => load.tally.answered(),
        (status, _) => trouble(Trouble::Wrong, format!("{ask}: status {status}")),
    }
}

/// Waits for a ready instance; `None` when the load is over or none was ready for long.
pub async fn ready_instance(load: &Load) -> Option<Arc<Instance>> {
    let since = Instant::now();
    while !load.stopped() {
        if let Some(instance) = load.fleet.pick() {
            return Some(instance);
        }
        if since.elapsed() > NONE_READY_LIMIT {
            let how = format!("no instance was ready for {NONE_READY_LIMIT:?}");
            load.tally.trouble(Trouble::NoneReady, None, &how);
            return None;
        }
        time::sleep(Duration::from_millis(5)).await;
    }
    None
}
