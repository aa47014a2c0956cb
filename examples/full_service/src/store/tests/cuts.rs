//! Calls that are dropped at any await, as those of clients that leave.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::*;

on_both! {
    a_call_cut_at_each_of_its_awaits_leaves_no_transaction_open
    calls_cut_at_random_moments_leave_nothing_behind
}

/// Runs a future until it has been polled so often, and drops it then.
async fn cut<F: Future>(future: F, polls: usize) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
}

/// Returns a number below `most` that is the same in each run of the test.
fn scattered(number: usize, most: usize) -> usize {
    number.wrapping_mul(2_654_435_761) % 4_093 % most
}

async fn a_call_cut_at_each_of_its_awaits_leaves_no_transaction_open(fresh: Fresh) {
    const MOST: usize = 40;
    let new = new_order(fresh.user().await.id);
    // Its one connection is lent to each call.
    let narrow = fresh.again_with(1).await;
    for polls in 0..MOST {
        let key = key(&format!("k-{polls}"), 1);
        cut(narrow.create_order(&new, Some(&key), None), polls).await;
        // A write inside of a transaction that was left open is seen by no other connection.
        let user = NewUser {
            email: format!("{polls}@example.org"),
            name: "Ada".to_owned(),
        };
        let user = narrow.create_user(&user).await.expect("a user");
        let seen = fresh.store.user(user.id).await.expect("read");
        assert!(seen.is_some(), "lost after a cut at await {polls}");
    }
    let orders = fresh.number("SELECT count(*) FROM orders").await;
    assert!(orders > 0 && orders < MOST as i64, "{orders}");
}

async fn calls_cut_at_random_moments_leave_nothing_behind(fresh: Fresh) {
    const CALLS: usize = 1_000;
    const AT_ONCE: usize = 20;
    let user = fresh.user().await;
    let new = new_order(user.id);

    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        if number >= AT_ONCE {
            calls.join_next().await.expect("a call").expect("no panic");
        }
        let (store, new) = (fresh.store.clone(), new.clone());
        calls.spawn(async move {
            let key = key(&format!("k-{number}"), 1);
            let call = store.create_order(&new, Some(&key), None);
            // A call is polled some 20 times; half of the cuts come by the clock, as those of the timeout layer do.
            let polls = scattered(number, 24);
            if number % 2 == 0 {
                cut(call, polls).await;
            } else {
                let limit = Duration::from_micros(polls as u64 * 250);
                let _ = timeout(limit, call).await;
            }
        });
    }
    while let Some(end) = calls.join_next().await {
        end.expect("no panic");
    }

    // No later call runs inside of a transaction that was left open: what it writes, another instance sees.
    for _ in 0..20 {
        fresh.user().await;
    }
    let other = fresh.again().await;
    assert_eq!(other.users(None, 100).await.expect("a page").len(), 21);
    if let Some(server) = fresh.server() {
        // Less than the 10 s after which the server would end them.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while open_transactions(server) != "0" {
            assert!(std::time::Instant::now() < deadline, "idle in transaction");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    // As many as there are connections succeed at once.
    let mut after = tokio::task::JoinSet::new();
    for number in 0..10 {
        let (store, new) = (fresh.store.clone(), new.clone());
        after.spawn(async move {
            let key = key(&format!("after-{number}"), 1);
            created(store.create_order(&new, Some(&key), None).await);
        });
    }
    while let Some(end) = after.join_next().await {
        end.expect("a new order");
    }

    // Each order has its key and its job.
    let orders = fresh.number("SELECT count(*) FROM orders").await;
    // The cuts fell before and after the commit.
    assert!(orders > 10 && orders < CALLS as i64, "{orders}");
    for table in ["idempotency_keys", "jobs"] {
        let rows = fresh.number(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(rows, orders, "{table}");
    }
    if let Some(server) = fresh.server() {
        assert_eq!(open_transactions(server), "0");
        let locks = server.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
        assert_eq!(locks, "0");
    }
}

/// Returns the number of the connections that wait inside of a transaction.
fn open_transactions(server: &postgres::Database) -> String {
    server.ask(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    )
}
