//! The outbox on PostgreSQL. Leases are measured by the clock of the database: those of the instances differ.

use std::time::Duration;

use sqlx::{
    PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query,
    query::Query,
    query_scalar,
};
use uuid::Uuid;

use super::super::{
    Change, Instance, Job, JobCounts, KEPT, NewJob, PostgresStore, Result, SWEPT, StoreError, now,
};
use super::listen::CHANNEL;

macro_rules! job_columns {
    () => {
        "jobs.id, kind, payload::text AS payload, owner, attempts, request_id, traceparent"
    };
}

/// The condition that no other run of the job has begun.
macro_rules! of_run {
    () => {
        " WHERE id = $1 AND owner = $2 AND attempts = $3 AND state = 'running'"
    };
}

/// Writes a job, for a worker to find after the commit.
pub(super) async fn insert(connection: &mut PgConnection, job: &NewJob<'_>) -> Result<Uuid> {
    let id = Uuid::now_v7();
    // Both in one statement. What is notified is sent at the commit.
    query(
        "WITH job AS (
             INSERT INTO jobs (id, kind, payload, state, run_at, request_id, traceparent, created_at)
             VALUES ($1, $2, $3::jsonb, 'queued', now(), $4, $5, now())
         )
         SELECT pg_notify($6, '')",
    )
    .bind(id)
    .bind(job.kind)
    .bind(job.payload.to_string())
    .bind(job.origin.request_id)
    .bind(job.origin.traceparent)
    .bind(CHANNEL)
    .execute(connection)
    .await?;
    Ok(id)
}

impl PostgresStore {
    #[cfg(test)]
    pub(in super::super) async fn enqueue(&self, job: &NewJob<'_>) -> Result<Uuid> {
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, job).await
    }

    pub(in super::super) async fn claim(
        &self,
        owner: &str,
        lease: Duration,
    ) -> Result<Option<Job>> {
        // `MATERIALIZED`: the plan must not choose a row twice.
        let row = query(concat!(
            "WITH next AS MATERIALIZED (
                 SELECT id FROM jobs
                 WHERE state IN ('queued', 'running') AND run_at <= now()
                     AND (state = 'queued' OR lease_until <= now())
                 ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             UPDATE jobs SET state = 'running', attempts = attempts + 1, owner = $1,
                 lease_until = now() + make_interval(secs => $2)
             FROM next WHERE jobs.id = next.id
             RETURNING ",
            job_columns!()
        ))
        .bind(owner)
        .bind(lease.as_secs_f64())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(job).transpose()?)
    }

    pub(in super::super) async fn heartbeat(&self, job: &Job, lease: Duration) -> Result<bool> {
        let sql = concat!(
            "UPDATE jobs SET lease_until = now() + make_interval(secs => $4)",
            of_run!()
        );
        self.write(of(sql, job).bind(lease.as_secs_f64())).await
    }

    pub(in super::super) async fn done(&self, job: &Job) -> Result<bool> {
        let sql = concat!(
            "UPDATE jobs SET state = 'done', lease_until = NULL, finished_at = now()",
            of_run!()
        );
        self.write(of(sql, job)).await
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
                 state = CASE WHEN $5::float8 IS NULL THEN 'dead' ELSE 'queued' END,
                 run_at = now() + make_interval(secs => COALESCE($5, 0))",
            of_run!()
        );
        let delay = delay.map(|delay| delay.as_secs_f64());
        self.write(of(sql, job).bind(error).bind(delay)).await
    }

    async fn write(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<bool> {
        Ok(statement.execute(&self.pool).await?.rows_affected() == 1)
    }

    pub(in super::super) async fn retry(&self, id: Uuid) -> Result<Change<()>> {
        let queued = query(
            "UPDATE jobs SET state = 'queued', attempts = 0, run_at = now()
             WHERE id = $1 AND state = 'dead'",
        )
        .bind(id)
        .execute(&self.pool)
        .await?;
        if queued.rows_affected() == 1 {
            return Ok(Change::Done(()));
        }
        let state = self.job_state(id).await?;
        Ok(state.map_or(Change::Missing, |_| Change::Refused("not-dead")))
    }

    pub(in super::super) async fn job_state(&self, id: Uuid) -> Result<Option<String>> {
        let state = query_scalar("SELECT state FROM jobs WHERE id = $1").bind(id);
        Ok(state.fetch_optional(&self.pool).await?)
    }

    pub(in super::super) async fn job_counts(&self) -> Result<JobCounts> {
        let row = query(
            "SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
                 count(*) FILTER (WHERE state = 'running') AS running,
                 (SELECT count(*) FROM jobs WHERE state = 'dead') AS dead,
                 COALESCE(EXTRACT(EPOCH FROM now() - LEAST(
                     min(run_at) FILTER (WHERE state = 'queued' AND run_at <= now()),
                     min(lease_until) FILTER (WHERE state = 'running' AND lease_until <= now())
                 )), 0)::float8 AS longest_wait
             FROM jobs WHERE state IN ('queued', 'running')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(JobCounts {
            queued: row.try_get("queued")?,
            running: row.try_get("running")?,
            dead: row.try_get("dead")?,
            longest_wait: Duration::from_secs_f64(row.try_get("longest_wait")?),
        })
    }

    pub(in super::super) async fn seen(&self, instance: &Instance) -> Result<()> {
        query(
            "INSERT INTO instances (id, version, schema_version, started_at, seen_at)
             VALUES ($1, $2, $3, $4, now())
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(&instance.id)
        .bind(&instance.version)
        .bind(instance.schema_version)
        .bind(instance.started_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(in super::super) async fn gone(&self, instance: &Instance) -> Result<()> {
        query("DELETE FROM instances WHERE id = $1")
            .bind(&instance.id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(in super::super) async fn sweep(&self) -> Result<u64> {
        let before = now() - KEPT;
        let mut removed = 0;
        // Instances sweep at the same time: none waits for the rows of another.
        for sql in [
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys WHERE created_at < $1 LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
            "DELETE FROM jobs WHERE id IN (
                 SELECT id FROM jobs WHERE state = 'done' AND finished_at < $1 LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
            "DELETE FROM instances WHERE id IN (
                 SELECT id FROM instances WHERE seen_at < $1 LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        ] {
            let statement = query(sql).bind(before).bind(i64::from(SWEPT));
            removed += statement.execute(&self.pool).await?.rows_affected();
        }
        Ok(removed)
    }
}

/// Returns a statement about the run of a job, whose first three values are those of [`of_run`].
fn of(sql: &'static str, job: &Job) -> Query<'static, Postgres, PgArguments> {
    query(sql).bind(job.id).bind(&job.owner).bind(job.attempts)
}

fn job(row: &PgRow) -> Result<Job, sqlx::Error> {
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
