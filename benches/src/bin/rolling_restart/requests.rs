//! The requests of the clients, and the check of the answers; the same for both protocols.

use std::{
    fmt, iter,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time;

use crate::{Load, fleet::Instance, tally::Trouble};

const ECHO_LENGTH: usize = 512;
const UPLOAD_LENGTH: usize = 64 * 1024;
const DOWNLOAD_LENGTH: usize = 1024 * 1024;

/// The bytes a second that a slow reader takes: a download takes a second.
pub const SLOW_RATE: u64 = 1024 * 1024;
/// The number of pieces of an upload, with this pause after each.
pub const UPLOAD_PIECES: usize = 8;
pub const UPLOAD_PAUSE: Duration = Duration::from_millis(25);

/// The time without a ready instance after which a client reports trouble.
const NONE_READY_LIMIT: Duration = Duration::from_secs(5);

/// The role of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Short requests.
    Short,
    /// Downloads, read at [`SLOW_RATE`].
    SlowReader,
    /// Uploads, sent piece by piece.
    Uploader,
}

/// The number of clients in each role.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    pub clients: usize,
    pub slow_readers: usize,
    pub uploaders: usize,
}

impl Roles {
    pub fn all(self) -> impl Iterator<Item = Role> {
        let short = self
            .clients
            .saturating_sub(self.slow_readers + self.uploaders);
        iter::repeat_n(Role::SlowReader, self.slow_readers)
            .chain(iter::repeat_n(Role::Uploader, self.uploaders))
            .chain(iter::repeat_n(Role::Short, short))
    }
}

pub enum Ask {
    Slow { path: String },
    Echo { body: Vec<u8> },
    Upload { body: Vec<u8> },
    Download,
}

impl Ask {
    /// Returns the next operation of a client of this role.
    pub fn of(role: Role) -> Self {
        match role {
            Role::SlowReader => Ask::Download,
            Role::Uploader => Ask::Upload {
                body: letters(UPLOAD_LENGTH),
            },
            Role::Short if fastrand::bool() => Ask::Slow {
                path: format!("/slow?ms={}", fastrand::u64(0..=50)),
            },
            Role::Short => Ask::Echo {
                body: letters(ECHO_LENGTH),
            },
        }
    }

    pub fn path(&self) -> &str {
        match self {
            Ask::Slow { path } => path,
            Ask::Echo { .. } | Ask::Upload { .. } => "/echo",
            Ask::Download => "/big?mb=1",
        }
    }
}

fn letters(count: usize) -> Vec<u8> {
    iter::repeat_with(fastrand::alphanumeric)
        .map(|letter| letter as u8)
        .take(count)
        .collect()
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self {
            Ask::Slow { .. } | Ask::Download => "GET",
            Ask::Echo { .. } | Ask::Upload { .. } => "POST",
        };
        write!(f, "{method} {}", self.path())?;
        match self {
            Ask::Upload { .. } => f.write_str(", uploaded slowly"),
            Ask::Download => f.write_str(", read slowly"),
            Ask::Slow { .. } | Ask::Echo { .. } => Ok(()),
        }
    }
}

/// Counts a complete answer.
pub fn judge(load: &Load, instance: &Instance, ask: &Ask, status: u16, body: &[u8]) {
    let trouble = |trouble, how: String| load.tally.trouble(trouble, Some(instance), &how);
    match (status, ask) {
        (503, _) => trouble(Trouble::Answered503, ask.to_string()),
        (200, Ask::Echo { body: sent } | Ask::Upload { body: sent }) if body != sent => {
            trouble(Trouble::Wrong, format!("{ask}: another body came back"));
        }
        (200, Ask::Download) if body.len() != DOWNLOAD_LENGTH => {
            trouble(Trouble::Wrong, format!("{ask}: {} bytes came", body.len()));
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
