//! The way to a connection, and the pauses between the attempts.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::timeout;

use super::error::Slow;
use super::script::{Gcra, only_this_key};
use crate::events::Events;

pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// To connect, or to authenticate. Nobody waits for that long: questions have their deadline.
const CONNECT: Duration = Duration::from_secs(1);

/// So many questions wait for their answers at once. What is over it is asked of the local limiter: a Redis
/// that hangs piles up no memory.
pub(super) const IN_FLIGHT: usize = 1024;

/// What is set.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) client: Client,
    pub(super) deadline: Duration,
    pub(super) prefix: Arc<str>,
    pub(super) events: Events,
    pub(super) gcra: Arc<Gcra>,
}

/// A connection that has answered a question as quickly as it has to.
pub(super) async fn connect(
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
pub(super) fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + (pause / 2) * u32::try_from(random).unwrap_or(0) / 1024
}
