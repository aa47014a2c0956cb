//! The flags in Redis: a hash `flags` of JSON, and `flags:version`, which every change raises.
//!
//! A change by hand raises it too, or it is not read:
//! `redis-cli multi`, `hset flags KEY JSON`, `incr flags:version`, `publish flags:version ''`, `exec`.

use std::{fmt, time::Duration};

use futures_util::{FutureExt, StreamExt};
use redis::{
    AsyncConnectionConfig, Client, Pipeline, RedisError,
    aio::{MultiplexedConnection, PubSubStream},
    cmd, pipe,
};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{
    flag::Flag,
    table::{LONGEST_ERROR, Row, Table},
};

const HASH: &str = "flags";
/// The key of the version, and the channel of the hints.
const VERSION: &str = "flags:version";

/// The most flags that are read.
const MOST_FLAGS: usize = 10_000;
const CONNECT: Duration = Duration::from_secs(1);
/// The limit of a change, from the connection to its answer.
const CHANGE: Duration = Duration::from_secs(3);
/// How often a change is tried anew because another one came between.
const ATTEMPTS: usize = 10;

/// The address of a Redis.
#[derive(Clone)]
pub struct Redis(Client);

/// The error of a URL. It does not show the URL, which may have a password.
#[derive(Clone, Copy, Debug)]
pub struct InvalidUrl;

/// The reason why Redis could not be read or changed.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: String,
    /// True if the connection is of no more use.
    pub lost: bool,
}

/// A connection to read by, and the hints of changes.
pub(super) struct Link {
    redis: MultiplexedConnection,
    /// `None`: this Redis gives none, and the next refresh sees what has changed.
    hints: Option<PubSubStream>,
    /// The version that was read by this connection. Not by another: behind a failover the same number may stand for
    /// other flags.
    seen: Option<u64>,
}

/// What a look at Redis has found.
pub(super) enum Found {
    Unchanged,
    /// This Redis has no flags yet, or has lost them.
    Nothing,
    Flags {
        version: u64,
        rows: Vec<Row>,
    },
}

/// The versions of a flag that a change is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Any, or none.
    Whatever,
    /// Any.
    Exists,
    Versions(Vec<u64>),
}

/// A change that was made.
pub(super) struct Changed {
    pub before: Option<Flag>,
    pub after: Option<Flag>,
    /// The version of all flags.
    pub version: u64,
}

/// The reason why a change was not made.
pub(super) enum Refused {
    Missing,
    /// The flag has this version.
    Stale(u64),
    /// There are too many flags.
    Full,
    /// Redis did not answer, or not in time. If it was the last answer, the change is made.
    Away(Failed),
}

// === impl Redis ===

impl Redis {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// The URL is malformed.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        // Its own error may repeat the URL.
        Client::open(url).map(Self).map_err(|_| InvalidUrl)
    }

    async fn connect(&self, answer: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        let client = &self.0;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Connects, and subscribes before anything is read: no change is missed.
    pub(super) async fn link(&self, answer: Duration) -> Result<Link, Failed> {
        let redis = self.connect(answer).await?;
        let hints = async {
            let mut hints = self.0.get_async_pubsub().await?;
            hints.subscribe(VERSION).await?;
            Ok::<_, RedisError>(hints.into_on_message())
        };
        let hints = match hints.await {
            Ok(hints) => Some(hints),
            Err(error) => {
                tracing::debug!(%error, "there are no hints of changed flags");
                None
            }
        };
        Ok(Link {
            redis,
            hints,
            seen: None,
        })
    }

    /// Makes a change, and all of it or nothing. `flag` is the new one, or `None` to remove it.
    ///
    /// A Redis without flags gets those that this process `has`, too: those of a file become those of all instances, and
    /// lost ones are restored. Otherwise one flag would be all that there is.
    pub(super) async fn change(
        &self,
        key: &str,
        flag: Option<&Flag>,
        expected: &Expected,
        has: &Table,
    ) -> Result<Changed, Refused> {
        let made = async {
            let mut redis = self.connect(CHANGE).await?;
            for _ in 0..ATTEMPTS {
                let made = try_change(&mut redis, key, flag, expected, has).await?;
                if let Some(changed) = made {
                    return Ok(changed);
                }
            }
            Err(Failed::of("others change flags all the time").into())
        };
        timeout(CHANGE, made)
            .await
            .map_err(|_| Failed::late(CHANGE))?
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address has no password.
        write!(f, "Redis({})", self.0.get_connection_info().addr())
    }
}

/// Makes the change, unless another one came between.
async fn try_change(
    redis: &mut MultiplexedConnection,
    key: &str,
    flag: Option<&Flag>,
    expected: &Expected,
    has: &Table,
) -> Result<Option<Changed>, Refused> {
    // The transaction is void if one of them changes after this.
    cmd("WATCH")
        .arg(HASH)
        .arg(VERSION)
        .exec_async(redis)
        .await?;
    let (version, row, count): (Option<u64>, Option<Vec<u8>>, usize) = pipe()
        .cmd("GET")
        .arg(VERSION)
        .cmd("HGET")
        .arg(HASH)
        .arg(key)
        .cmd("HLEN")
        .arg(HASH)
        .query_async(redis)
        .await?;
    let known = || has.get(key).cloned();
    let before = match (&row, version) {
        (Some(row), _) => Flag::parse(row).ok().or_else(known),
        (None, Some(_)) => None,
        (None, None) => known(),
    };
    let there = row.is_some() || before.is_some();
    let current = before.as_ref().map_or(0, |flag| flag.version);
    match expected {
        Expected::Whatever if flag.is_none() && !there => return Err(Refused::Missing),
        Expected::Exists | Expected::Versions(_) if !there => return Err(Refused::Missing),
        Expected::Versions(versions) if !versions.contains(&current) => {
            return Err(Refused::Stale(current));
        }
        _ => {}
    }
    if flag.is_some() && !there && count >= MOST_FLAGS {
        return Err(Refused::Full);
    }

    let last = version.or(has.version).unwrap_or_default();
    let next = last.saturating_add(1);
    let after = flag.cloned().map(|flag| Flag {
        version: next,
        updated_at: Some(OffsetDateTime::now_utc()),
        ..flag
    });
    let mut change = pipe();
    change.atomic();
    if version.is_none() {
        for (key, flag) in &has.flags {
            set(&mut change, key, flag)?;
        }
    }
    match &after {
        Some(flag) => set(&mut change, key, flag)?,
        None => {
            change.cmd("HDEL").arg(HASH).arg(key).ignore();
        }
    }
    change.cmd("SET").arg(VERSION).arg(next).ignore();
    change.cmd("PUBLISH").arg(VERSION).arg(next).ignore();
    let made: Option<()> = change.query_async(redis).await?;
    Ok(made.map(|()| Changed {
        before,
        after,
        version: next,
    }))
}

fn set(change: &mut Pipeline, key: &str, flag: &Flag) -> Result<(), Failed> {
    let json = serde_json::to_vec(flag).map_err(Failed::of)?;
    change.cmd("HSET").arg(HASH).arg(key).arg(json).ignore();
    Ok(())
}

// === impl Link ===

impl Link {
    /// Reads the flags, if their version has moved.
    pub async fn look(&mut self) -> Result<Found, Failed> {
        let (version, count): (Option<u64>, usize) = pipe()
            .cmd("GET")
            .arg(VERSION)
            .cmd("HLEN")
            .arg(HASH)
            .query_async(&mut self.redis)
            .await?;
        match version {
            None if count == 0 => return Ok(Found::Nothing),
            None => return Err(Failed::of(format!("{VERSION} is missing"))),
            Some(version) if self.seen == Some(version) => return Ok(Found::Unchanged),
            Some(_) if count > MOST_FLAGS => {
                return Err(Failed::of(format!("{count} flags are too many")));
            }
            Some(_) => {}
        }
        // Both at one moment.
        let (version, rows): (u64, Vec<Row>) = pipe()
            .atomic()
            .cmd("GET")
            .arg(VERSION)
            .cmd("HGETALL")
            .arg(HASH)
            .query_async(&mut self.redis)
            .await?;
        Ok(Found::Flags { version, rows })
    }

    /// Remembers that this version is in force.
    pub fn saw(&mut self, version: u64) {
        self.seen = Some(version);
    }

    /// Waits for the hint of a change; for ever, if there are none. Returns false if the connection is lost.
    pub async fn hint(&mut self) -> bool {
        match &mut self.hints {
            Some(hints) => hints.next().await.is_some(),
            None => std::future::pending().await,
        }
    }

    /// Drops the hints that have come: one look is for all of them.
    pub fn forget_hints(&mut self) {
        if let Some(hints) = &mut self.hints {
            while let Some(Some(_)) = hints.next().now_or_never() {}
        }
    }
}

// === impl Failed ===

impl Failed {
    /// Returns the failure of something on a connection that works.
    pub fn of(error: impl fmt::Display) -> Self {
        Self {
            error: error.to_string(),
            lost: false,
        }
    }

    pub fn late(limit: Duration) -> Self {
        Self {
            error: format!("no answer within {limit:?}"),
            lost: true,
        }
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        let lost = error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error();
        // It may repeat the whole answer.
        let error = error.to_string().chars().take(LONGEST_ERROR).collect();
        Self { error, lost }
    }
}

impl From<RedisError> for Refused {
    fn from(error: RedisError) -> Self {
        Self::Away(error.into())
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        Self::Away(failed)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of Redis is malformed")
    }
}

impl std::error::Error for InvalidUrl {}
