//! The task that looks for Redis.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::time::timeout;

use super::error::Slow;
use super::link::{IN_FLIGHT, Link, Settings};
use super::script::only_this_key;

pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// To connect, or to authenticate. Nobody waits for that long: questions have their deadline.
const CONNECT: Duration = Duration::from_secs(1);

/// The search, as long as it has found nothing. When its runtime ends before that, the next question (on
/// another runtime) starts another.
pub(super) struct Unfinished(Weak<Link>);

impl Unfinished {
    pub(super) fn of(link: &Arc<Link>) -> Self {
        Unfinished(Arc::downgrade(link))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.unfinished();
        }
    }
}

/// Until there is a connection, or no limiter.
pub(super) async fn search(mut unfinished: Unfinished, settings: Settings, mut pause: Duration) {
    loop {
        let link = &unfinished.0;
        if !pause.is_zero() {
            tokio::time::sleep(jittered(pause)).await;
        }
        let mut attempt = std::pin::pin!(connect(&settings));
        let outcome = match timeout(settings.deadline, &mut attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // Nobody waits any longer, from now on not even for the deadline.
                let Some(link) = link.upgrade() else { return };
                link.away(&Slow(settings.deadline));
                drop(link);
                attempt.await
            }
        };
        let Some(link) = link.upgrade() else { return };
        match outcome {
            Ok(redis) => {
                // Done before it shows: the next search may begin at once.
                unfinished.0 = Weak::new();
                link.up(redis, pause);
                return;
            }
            Err(error) => link.away(&*error),
        }
        pause = longer(pause);
    }
}

/// A connection that has answered a question as quickly as it has to.
async fn connect(
    settings: &Settings,
) -> Result<MultiplexedConnection, Box<dyn Error + Send + Sync>> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT.max(settings.deadline)))
        .set_response_timeout(Some(CONNECT.max(settings.deadline)))
        .set_pipeline_buffer_size(IN_FLIGHT);
    let mut redis = settings
        .client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    settings.gcra.load(&mut redis).await?;
    let probe = settings.gcra.probe(&settings.prefix);
    match timeout(settings.deadline, settings.gcra.ask(&probe, &mut redis)).await {
        Ok(answer) => answer.map(drop).or_else(well)?,
        Err(_) => return Err(Slow(settings.deadline).into()),
    }
    Ok(redis)
}

/// Somebody's value under the probe's key is no reason to stay away.
fn well(error: RedisError) -> Result<(), RedisError> {
    match only_this_key(&error) {
        true => Ok(()),
        false => Err(error),
    }
}

pub(super) fn longer(pause: Duration) -> Duration {
    (2 * pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Between half of it and all of it: instances that lost Redis together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + (pause / 2) * u32::try_from(random).unwrap_or(0) / 1024
}
