//! The settings of a connection, its establishment, and the pauses between attempts.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::timeout;

use super::error::Slow;
use super::script::{Gcra, only_this_key};
use crate::events::EventSink;

pub(super) const MIN_PAUSE: Duration = Duration::from_millis(100);
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The timeout for connecting and authenticating. No request waits that long: queries have their own deadline.
const CONNECT: Duration = Duration::from_secs(1);

/// The maximum number of outstanding queries. Further ones go to the local limiter, so that a hanging Redis does not
/// accumulate memory.
pub(super) const IN_FLIGHT: usize = 1024;

/// The settings.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) client: Client,
    pub(super) deadline: Duration,
    pub(super) prefix: Arc<str>,
    pub(super) events: EventSink,
    pub(super) gcra: Arc<Gcra>,
}

/// Returns a connection that has answered a query within the deadline.
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

/// Accepts an error about a foreign value under the probe's key, which is no reason to stay away.
fn well(error: RedisError) -> Result<(), RedisError> {
    match only_this_key(&error) {
        true => Ok(()),
        false => Err(error),
    }
}

pub(super) fn longer(pause: Duration) -> Duration {
    (2 * pause).clamp(MIN_PAUSE, MAX_PAUSE)
}

/// Returns between half of the pause and all of it: instances that lost Redis together must not return together.
pub(super) fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + (pause / 2) * u32::try_from(random).unwrap_or(0) / 1024
}
