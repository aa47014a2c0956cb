//! The promises of the store, each kept by both databases.

mod cuts;
mod faults;
mod jobs;
mod orders;
#[path = "../../tests/service/support/postgres.rs"]
mod postgres;
mod users;

use sqlx::{AssertSqlSafe, query_scalar};
use tempfile::TempDir;

use super::*;
use crate::migrations;

/// A store on a database of its own, with the schema of the service.
pub(crate) struct Fresh {
    pub store: Store,
    settings: Settings,
    keep: Keep,
}

enum Keep {
    File { _directory: TempDir },
    Server(postgres::Database),
}

/// Makes a test for each of the databases from a function of the store.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::store::tests::Fresh::sqlite().await).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::store::tests::Fresh::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

impl Fresh {
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("test.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let keep = Keep::File {
            _directory: directory,
        };
        Self::new(url, keep, migrations::SQLITE).await
    }

    pub async fn postgres() -> Self {
        let database = postgres::Database::create();
        let url = database.url.clone();
        Self::new(url, Keep::Server(database), migrations::POSTGRES).await
    }

    async fn new(url: String, keep: Keep, migrations: &'static [(&str, &str)]) -> Self {
        let settings = Settings {
            url,
            pool: 10,
            acquire_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(20),
            instance: "test".to_owned(),
        };
        let store = Store::connect(&settings).await.expect("a store");
        let fresh = Self {
            store,
            settings,
            keep,
        };
        for (name, sql) in migrations {
            if name.ends_with(".up.sql") {
                fresh.run(sql).await;
            }
        }
        fresh
    }

    /// Opens the same database once more, as another instance does.
    pub async fn again(&self) -> Store {
        Store::connect(&self.settings).await.expect("a store")
    }

    /// Opens the same database with so many connections.
    pub async fn again_with(&self, pool: u32) -> Store {
        let settings = Settings {
            pool,
            ..self.settings.clone()
        };
        Store::connect(&settings).await.expect("a store")
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &self.store {
            Store::Sqlite(store) => drop(sql.execute(&store.writer).await.expect("to run")),
            Store::Postgres(store) => drop(sql.execute(&store.pool).await.expect("to run")),
        }
    }

    /// Returns the number that a query finds.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        let number = match &self.store {
            Store::Sqlite(store) => query_scalar(sql).fetch_one(&store.writer).await,
            Store::Postgres(store) => query_scalar(sql).fetch_one(&store.pool).await,
        };
        number.expect("a number")
    }

    /// Returns PostgreSQL's own view of the database; `None` on SQLite.
    pub fn server(&self) -> Option<&postgres::Database> {
        match &self.keep {
            Keep::File { .. } => None,
            Keep::Server(database) => Some(database),
        }
    }

    /// Creates a user to order for.
    pub async fn user(&self) -> User {
        let new = NewUser {
            email: format!("{}@example.org", Uuid::now_v7()),
            name: "Ada".to_owned(),
        };
        self.store.create_user(&new).await.expect("a user")
    }
}

/// Returns an order of two items.
pub(crate) fn new_order(user_id: Uuid) -> NewOrder {
    let item = |sku: &str, quantity, unit_price| Item {
        sku: sku.to_owned(),
        quantity,
        unit_price,
    };
    NewOrder {
        user_id,
        currency: "EUR".to_owned(),
        items: vec![item("tea", 2, 450), item("pot", 1, 3_000)],
        total: 3_900,
    }
}

/// Returns a key of a request.
pub(crate) fn key(name: &str, fingerprint: u8) -> IdempotencyKey {
    IdempotencyKey {
        key: name.to_owned(),
        fingerprint: [fingerprint; 32],
    }
}

/// Returns the order that was created.
pub(crate) fn created(created: Result<Created>) -> Order {
    match created {
        Ok(Created::New(order)) => order,
        other => panic!("no new order: {other:?}"),
    }
}

#[test]
fn a_time_is_as_exact_as_the_databases_keep_it() {
    for _ in 0..100 {
        assert_eq!(now().nanosecond() % 1_000, 0);
    }
}

#[tokio::test]
async fn postgres_that_is_away_is_so_within_the_limit_and_does_not_stop_the_start() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let settings = Settings {
        url: format!("postgres://user:hidden@{address}/none"),
        pool: 2,
        acquire_timeout: Duration::from_millis(300),
        statement_timeout: Duration::from_secs(5),
        instance: "test".to_owned(),
    };
    let store = Store::connect(&settings).await.expect("a lazy store");
    let begun = std::time::Instant::now();
    let error = store.ping().await.expect_err("it is away");
    assert!(matches!(error, StoreError::Away(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!format!("{error} {error:?}").contains("hidden"));
    assert_eq!(store.close().await, Closed { lent: 0 });
}

mod closing {
    use super::*;

    on_both! { connections_at_rest_are_closed }

    async fn connections_at_rest_are_closed(fresh: Fresh) {
        let store = fresh.again().await;
        store.ping().await.expect("an answer");
        assert_eq!(store.clone().close().await, Closed { lent: 0 });
        let error = store.ping().await.expect_err("it is closed");
        assert!(matches!(error, StoreError::Away(_)), "{error:?}");
    }

    #[tokio::test]
    async fn one_that_is_lent_is_counted_and_costs_the_others_no_farewell() {
        let fresh = Fresh::postgres().await;
        let Store::Postgres(store) = fresh.again().await else {
            panic!("PostgreSQL");
        };
        let mut lent = store.pool.acquire().await.expect("a connection");
        // A second one, which is at rest in the end.
        store.ping().await.expect("an answer");
        assert_eq!(store.close().await, Closed { lent: 1 });
        // The lent one still works.
        let one: i32 = query_scalar("SELECT 1")
            .fetch_one(&mut *lent)
            .await
            .expect("an answer");
        assert_eq!(one, 1);
        let database = fresh.server().expect("PostgreSQL");
        assert!(!database.log().contains("unexpected EOF"));
    }
}
