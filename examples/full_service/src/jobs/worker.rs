//! A worker: claims a job, does it, writes its end.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, field::Empty, info, info_span, warn};

use super::{Handler, MOST_ATTEMPTS, Outcome, delay};
use crate::{
    store::{Job, Store, StoreError},
    traces,
};

/// The pause after an error of the database.
const PAUSE: Duration = Duration::from_secs(1);

/// A worker.
pub(super) struct Worker<H> {
    pub store: Store,
    pub handler: H,
    /// The name of this worker, which no other has or had.
    pub owner: String,
    pub lease: Duration,
    pub poll: Duration,
}

/// The end of an attempt.
enum End {
    Done,
    GiveBack,
    /// The error, and the pause before the next attempt; `None`: there is none.
    Failed(String, Option<Duration>),
}

impl<H: Handler> Worker<H> {
    /// Works until the stop, and finishes the job that it has then.
    pub async fn run(self, stop: CancellationToken) {
        let hint = self.store.hint();
        let mut away = false;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            // Not cut by the stop: a claim whose answer is not read would hold the job for a lease.
            match self.store.claim(&self.owner, self.lease).await {
                Ok(Some(job)) => {
                    away = false;
                    self.work(job, begun + self.lease, &stop).await;
                }
                Ok(None) => {
                    away = false;
                    // By chance, so that instances which started together do not ask together.
                    let poll = self.poll.mul_f64(0.75 + fastrand::f64() / 2.0);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = hint.notified() => {}
                        () = sleep(poll) => {}
                    }
                }
                Err(error) => {
                    // Once for each time that it is away.
                    if !std::mem::replace(&mut away, true) {
                        error!(%error, "no job could be claimed");
                    }
                    stop.run_until_cancelled(sleep(PAUSE)).await;
                }
            }
        }
    }

    async fn work(&self, job: Job, lease_until: Instant, stop: &CancellationToken) {
        let span = info_span!(
            "job",
            job_id = %job.id,
            kind = %job.kind,
            attempt = job.attempts,
            request_id = job.request_id.as_deref(),
            trace_id = Empty,
            span_id = Empty,
        );
        traces::begin_job(&span, &job);
        self.attempt(job, lease_until, stop).instrument(span).await;
    }

    async fn attempt(&self, job: Job, mut lease_until: Instant, stop: &CancellationToken) {
        let begun = Instant::now();
        let end = if job.attempts > MOST_ATTEMPTS {
            // No attempt has come to an end, as where the job kills its process.
            End::Failed("its last lease ran out".to_owned(), None)
        } else {
            match self.end(&job, &mut lease_until, stop).await {
                Some(end) => end,
                None => {
                    traces::fail_job("lost to another worker");
                    return warn!("the job was lost to another worker");
                }
            }
        };
        // First: the end may come to nothing, and the attempt has failed all the same.
        if let End::Failed(error, _) = &end {
            traces::fail_job(error);
        }
        match self.settle(&job, &end, lease_until).await {
            Ok(true) => {}
            Ok(false) => {
                traces::fail_job("lost to another worker");
                return warn!("the job came to its end when another worker had it");
            }
            Err(error) => {
                traces::fail_job(&error.to_string());
                return error!(%error, "the end of the job could not be written");
            }
        }
        let took_ms = begun.elapsed().as_millis();
        match end {
            End::Done => info!(took_ms, "job done"),
            End::GiveBack => info!(took_ms, "job given back"),
            End::Failed(error, Some(delay)) => {
                warn!(took_ms, error, next_in_ms = delay.as_millis(), "job failed");
            }
            End::Failed(error, None) => error!(took_ms, error, "job dead"),
        }
    }

    /// Does the job, and prolongs its lease meanwhile. Returns `None` if the lease was lost: then the work is aborted.
    async fn end(
        &self,
        job: &Job,
        lease_until: &mut Instant,
        stop: &CancellationToken,
    ) -> Option<End> {
        // A task of its own: its panic is not the worker's, and it ends with the worker.
        let mut run = JoinSet::new();
        run.spawn({
            let (handler, job, stop) = (self.handler.clone(), job.clone(), stop.clone());
            async move { handler.run(&job, stop).await }.in_current_span()
        });
        let third = (self.lease / 3).max(Duration::from_millis(1));
        let mut beat = interval_at(Instant::now() + third, third);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = run.join_next() => {
                    let failed = |error: String| {
                        End::Failed(error, delay(job.attempts, fastrand::f64()))
                    };
                    return Some(match ended? {
                        Ok(Ok(Outcome::Done)) => End::Done,
                        Ok(Ok(Outcome::GiveBack)) => End::GiveBack,
                        Ok(Err(error)) => failed(error.to_string()),
                        // Its text is with the panic's own line in the log.
                        Err(_) => failed("it panicked".to_owned()),
                    });
                }
                _ = beat.tick() => {
                    let asked = Instant::now();
                    match self.store.heartbeat(job, self.lease).await {
                        Ok(true) => *lease_until = asked + self.lease,
                        Ok(false) => return None,
                        Err(_) if Instant::now() >= *lease_until => return None,
                        Err(error) => debug!(%error, "the lease was not prolonged"),
                    }
                }
            }
        }
    }

    /// Writes the end, and tries again while the database is away and the lease lasts: a job whose end is not written is
    /// done once more.
    async fn settle(&self, job: &Job, end: &End, until: Instant) -> Result<bool, StoreError> {
        loop {
            let written = match end {
                End::Done => self.store.done(job).await,
                End::GiveBack => self.store.give_back(job).await,
                End::Failed(error, delay) => self.store.fail(job, error, *delay).await,
            };
            match written {
                Err(StoreError::Away(_)) if Instant::now() + PAUSE < until => sleep(PAUSE).await,
                written => return written,
            }
        }
    }
}
