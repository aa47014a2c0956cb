//! The signs of life of an instance, and what goes on beside them.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use crate::{
    jobs::{
        JobMetrics,
        instance::{Signs, sweep},
    },
    store::{
        Instance, Store,
        tests::{Fresh, on_both},
    },
};

on_both! {
    a_sweep_leaves_no_old_rows_however_many_there_are
}

fn signs(store: &Store) -> Signs {
    Signs {
        store: store.clone(),
        instance: Instance {
            id: "one".to_owned(),
            version: "1.0.0".to_owned(),
            schema_version: 1,
            started_at: OffsetDateTime::now_utc(),
        },
        metrics: JobMetrics::default(),
        every: Duration::from_millis(20),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_hangs_delays_no_sign_of_life_and_no_stop() {
    /// Less than the 20 s of a statement.
    const SOON: Duration = Duration::from_secs(10);
    let fresh = Fresh::postgres().await;
    let database = fresh.server().expect("PostgreSQL");
    let mut session = database.session();
    session.ask("BEGIN");
    session.ask("LOCK TABLE jobs");
    let stop = CancellationToken::new();
    let worker = tokio::spawn(signs(&fresh.store).run(stop.clone()));
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let seen =
        "SELECT COALESCE(max(EXTRACT(EPOCH FROM seen_at) * 1000000), 0)::bigint FROM instances";
    let alive = async {
        while fresh.number(waits).await == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..3 {
            let last = fresh.number(seen).await;
            while fresh.number(seen).await == last {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    timeout(SOON, alive).await.expect("signs of life");
    stop.cancel();
    let ended = timeout(SOON, worker).await;
    ended.expect("its end").expect("no panic");
    session.ask("ROLLBACK");
}

/// The lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, message: &str) -> usize {
        let text = String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned();
        text.matches(message).count()
    }
}

// All on this thread, which the log is of.
#[tokio::test]
async fn each_time_that_jobs_cannot_be_counted_is_a_line_in_the_log() {
    const MESSAGE: &str = "the jobs could not be counted";
    let fresh = Fresh::sqlite().await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let stop = CancellationToken::new();
    let signs = signs(&fresh.store);
    let metrics = signs.metrics.clone();
    let test = async {
        for time in 1..=2 {
            while metrics.counts().is_none() {
                sleep(Duration::from_millis(5)).await;
            }
            fresh.run("ALTER TABLE jobs RENAME TO away").await;
            while lines.count(MESSAGE) < time {
                sleep(Duration::from_millis(5)).await;
            }
            // Some more counts.
            sleep(Duration::from_millis(200)).await;
            assert_eq!(lines.count(MESSAGE), time);
            assert!(metrics.counts().is_none());
            fresh.run("ALTER TABLE away RENAME TO jobs").await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(signs.run(stop.clone()), test) };
    timeout(PATIENCE, both).await.expect("both lines");
}

async fn a_sweep_leaves_no_old_rows_however_many_there_are(fresh: Fresh) {
    let (fingerprint, long_ago) = match fresh.store {
        Store::Sqlite(_) => ("x'00'", "0"),
        Store::Postgres(_) => ("'\\x00'::bytea", "now() - interval '2 days'"),
    };
    let rows = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
         INSERT INTO idempotency_keys (key, fingerprint, answer, created_at)
         SELECT CAST(n AS text), {fingerprint}, '{{}}', {long_ago} FROM numbers"
    );
    fresh.run(&rows).await;
    sweep(&fresh.store, &CancellationToken::new()).await;
    let left = "SELECT count(*) FROM idempotency_keys";
    assert_eq!(fresh.number(left).await, 0);
}
