//! The work of each kind of job.

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Handler, JobError, Outcome};
use crate::store::{CONFIRM_ORDER, Job, Store};

/// The jobs of the service.
#[derive(Clone)]
pub struct Handlers {
    store: Store,
}

#[derive(Deserialize)]
struct ConfirmOrder {
    order_id: Uuid,
}

impl Handlers {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Confirms an order. One that is cancelled, or confirmed by an earlier attempt, stays as it is.
    async fn confirm_order(&self, job: &Job) -> Result<Outcome, JobError> {
        let ConfirmOrder { order_id } = Deserialize::deserialize(&job.payload)?;
        self.store.confirm_order(order_id).await?;
        Ok(Outcome::Done)
    }
}

impl Handler for Handlers {
    async fn run(&self, job: &Job, _stop: CancellationToken) -> Result<Outcome, JobError> {
        match job.kind.as_str() {
            CONFIRM_ORDER => self.confirm_order(job).await,
            // Of a newer version: its instances may take it at the next attempt.
            kind => Err(format!("no handler for jobs of kind {kind:?}").into()),
        }
    }
}
