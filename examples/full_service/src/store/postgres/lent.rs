//! A connection on loan, for transactions that may be dropped at any await.

use sqlx::{Acquire, PgPool, PgTransaction, Postgres, pool::PoolConnection};

/// A connection on loan.
///
/// A dropped transaction of sqlx rolls back, but one whose BEGIN is not answered yet does not know that it is one (0.9):
/// the pool would lend the connection inside of it. So that one is closed.
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    beginning: bool,
}

impl Lent {
    pub(super) async fn acquire(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: pool.acquire().await?,
            beginning: false,
        })
    }

    pub(super) async fn begin(&mut self) -> Result<PgTransaction<'_>, sqlx::Error> {
        self.beginning = true;
        let transaction = self.connection.begin().await?;
        self.beginning = false;
        Ok(transaction)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.beginning {
            self.connection.close_on_drop();
        }
    }
}
