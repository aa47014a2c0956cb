//! The outbox on SQLite. A statement is a transaction of its own, and the writer does one after another: nothing else
//! is needed for a claim.

use std::time::Duration;

use sqlx::{
    Row, Sqlite, SqliteConnection, query,
    query::Query,
    query_scalar,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use super::super::{
    Change, Instance, Job, JobCounts, KEPT, NewJob, Result, SWEPT, SqliteStore, StoreError, now,
};
use super::micros;

macro_rules! job_columns {
    () => {
        "id, kind, payload, owner, attempts, request_id, traceparent"
    };
}

/// The condition that no other run of the job has begun.
macro_rules! of_run {
    () => {
        " WHERE id = $1 AND owner = $2 AND attempts = $3 AND state = 'running'"
    };
}

/// Writes a job, for a worker to find after the commit.
pub(super) async fn insert(connection: &mut SqliteConnection, job: &NewJob<'_>) -> Result<Uuid> {
    let id = Uuid::now_v7();
    query(
        "INSERT INTO jobs (id, kind, payload, state, run_at, request_id, traceparent, created_at)
         VALUES ($1, $2, $3, 'queued', $6, $4, $5, $6)",
    )
    .bind(id)
    .bind(job.kind)
    .bind(job.payload.to_string())
    .bind(job.origin.request_id)
    .bind(job.origin.traceparent)
    .bind(micros(now()))
    .execute(connection)
    .await?;
    Ok(id)
}

impl SqliteStore {
    #[cfg(test)]
    pub(in super::super) async fn enqueue(&self, job: &NewJob<'_>) -> Result<Uuid> {
        let mut connection = self.writer.acquire().await?;
        insert(&mut connection, job).await
    }

    pub(in super::super) async fn claim(
        &self,
        owner: &str,
        lease: Duration,
    ) -> Result<Option<Job>> {
        let now = now();
        let claimed = query(concat!(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, owner = $1, lease_until = $2
             WHERE id = (
                 SELECT id FROM jobs
                 WHERE state IN ('queued', 'running') AND run_at <= $3
                     AND (state = 'queued' OR lease_until <= $3)
                 ORDER BY run_at LIMIT 1
             )
             RETURNING ",
            job_columns!()
        ))
        .bind(owner)
        .bind(micros(now + lease))
        .bind(micros(now));
        let row = self.returned(claimed).await?;
        Ok(row.as_ref().map(job).transpose()?)
    }

    pub(in super::super) async fn heartbeat(&self, job: &Job, lease: Duration) -> Result<bool> {
        let sql = concat!("UPDATE jobs SET lease_until = $4", of_run!());
        self.write(of(sql, job).bind(micros(now() + lease))).await
    }

    pub(in super::super) async fn done(&self, job: &Job) -> Result<bool> {
        let sql = concat!(
            "UPDATE jobs SET state = 'done', lease_until = NULL, finished_at = $4",
            of_run!()
        );
        self.write(of(sql, job).bind(micros(now()))).await
    }

    pub(in super::super) async fn give_back(&self, job: &Job) -> Result<bool> {
        let sql = concat!(
            "UPDATE jobs SET state = 'queued', lease_until = NULL, owner = NULL,
                 attempts = attempts - 1",
            of_run!()
        );
        self.write(of(sql, job)).await
    }

    pub(in super::super) async fn fail(
        &self,
        job: &Job,
        error: &str,
        delay: Option<Duration>,
    ) -> Result<bool> {
        let sql = concat!(
            "UPDATE jobs SET lease_until = NULL, owner = NULL, last_error = $4,
                 state = CASE WHEN $5 IS NULL THEN 'dead' ELSE 'queued' END,
                 run_at = COALESCE($5, run_at)",
            of_run!()
        );
        let run_at = delay.map(|delay| micros(now() + delay));
        self.write(of(sql, job).bind(error).bind(run_at)).await
    }

    async fn write(&self, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<bool> {
        Ok(statement.execute(&self.writer).await?.rows_affected() == 1)
    }

    pub(in super::super) async fn retry(&self, id: Uuid) -> Result<Change<()>> {
        let queued = query(
            "UPDATE jobs SET state = 'queued', attempts = 0, run_at = $2
             WHERE id = $1 AND state = 'dead'",
        )
        .bind(id)
        .bind(micros(now()))
        .execute(&self.writer)
        .await?;
        if queued.rows_affected() == 1 {
            return Ok(Change::Done(()));
        }
        let state = self.job_state(id).await?;
        Ok(state.map_or(Change::Missing, |_| Change::Refused("not-dead")))
    }

    pub(in super::super) async fn job_state(&self, id: Uuid) -> Result<Option<String>> {
        let state = query_scalar("SELECT state FROM jobs WHERE id = $1").bind(id);
        Ok(state.fetch_optional(&self.readers).await?)
    }

    pub(in super::super) async fn job_counts(&self) -> Result<JobCounts> {
        let now = micros(now());
        let row = query(
            "SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
                 count(*) FILTER (WHERE state = 'running') AS running,
                 (SELECT count(*) FROM jobs WHERE state = 'dead') AS dead,
                 min(
                     COALESCE(min(run_at) FILTER (WHERE state = 'queued' AND run_at <= $1), $1),
                     COALESCE(min(lease_until) FILTER (WHERE state = 'running' AND lease_until <= $1), $1)
                 ) AS due
             FROM jobs WHERE state IN ('queued', 'running')",
        )
        .bind(now)
        .fetch_one(&self.readers)
        .await?;
        let due: i64 = row.try_get("due")?;
        Ok(JobCounts {
            queued: row.try_get("queued")?,
            running: row.try_get("running")?,
            dead: row.try_get("dead")?,
            longest_wait: Duration::from_micros((now - due).unsigned_abs()),
        })
    }

    pub(in super::super) async fn seen(&self, instance: &Instance) -> Result<()> {
        query(
            "INSERT INTO instances (id, version, schema_version, started_at, seen_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(&instance.id)
        .bind(&instance.version)
        .bind(instance.schema_version)
        .bind(micros(instance.started_at))
        .bind(micros(now()))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    pub(in super::super) async fn gone(&self, instance: &Instance) -> Result<()> {
        query("DELETE FROM instances WHERE id = $1")
            .bind(&instance.id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(in super::super) async fn sweep(&self) -> Result<u64> {
        let before = now() - KEPT;
        let mut removed = 0;
        for sql in [
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
            "DELETE FROM jobs WHERE id IN (
                 SELECT id FROM jobs WHERE state = 'done' AND finished_at < $1 LIMIT $2)",
            "DELETE FROM instances WHERE id IN (
                 SELECT id FROM instances WHERE seen_at < $1 LIMIT $2)",
        ] {
            let statement = query(sql).bind(micros(before)).bind(i64::from(SWEPT));
            removed += statement.execute(&self.writer).await?.rows_affected();
        }
        Ok(removed)
    }
}

/// Returns a statement about the run of a job, whose first three values are those of [`of_run`].
fn of(sql: &'static str, job: &Job) -> Query<'static, Sqlite, SqliteArguments> {
    query(sql).bind(job.id).bind(&job.owner).bind(job.attempts)
}

fn job(row: &SqliteRow) -> Result<Job, sqlx::Error> {
    Ok(Job {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        payload: serde_json::from_str(row.try_get("payload")?).map_err(StoreError::unreadable)?,
        owner: row.try_get("owner")?,
        attempts: row.try_get("attempts")?,
        request_id: row.try_get("request_id")?,
        traceparent: row.try_get("traceparent")?,
    })
}
