//! The listener: a connection of its own on which PostgreSQL says that there is a job.

use std::{sync::Arc, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{PostgresStore, StoreError};

/// The channel of the notifications.
pub(super) const CHANNEL: &str = concat!(env!("CARGO_PKG_NAME"), "_jobs");
const CONNECTING: Duration = Duration::from_secs(5);
/// The pause after a lost connection. Workers poll meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// The limit of its farewell.
const CLOSING: Duration = Duration::from_secs(1);

/// The listener of a store. What it hears is a hint only: workers poll as well.
pub struct Listener {
    options: PgConnectOptions,
    hint: Arc<Notify>,
}

impl PostgresStore {
    pub fn listener(&self) -> Listener {
        Listener {
            options: PgConnectOptions::clone(&self.pool.connect_options()),
            hint: self.hint.clone(),
        }
    }
}

impl Listener {
    /// Listens until the stop, and closes the connection.
    pub async fn run(self, stop: CancellationToken) {
        // Not of the store's pool, which would have one less to lend.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECTING)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        stop.run_until_cancelled(self.listen(&pool)).await;
        if timeout(CLOSING, pool.close()).await.is_err() {
            warn!("the connection that listens for jobs did not close in time");
        }
    }

    async fn listen(&self, pool: &PgPool) {
        let mut away = false;
        loop {
            match self.hear(pool, &mut away).await {
                Ok(never) => match never {},
                Err(error) => {
                    // Once for each time that it is away.
                    if !std::mem::replace(&mut away, true) {
                        let error = StoreError::from(error);
                        warn!(%error, "the connection that listens for jobs is lost; workers poll");
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn hear(
        &self,
        pool: &PgPool,
        away: &mut bool,
    ) -> Result<std::convert::Infallible, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        if std::mem::take(away) {
            info!("listening for jobs again");
        }
        loop {
            // `None`: it was lost for a moment, and with it what was said.
            listener.try_recv().await?;
            self.hint.notify_one();
        }
    }
}
