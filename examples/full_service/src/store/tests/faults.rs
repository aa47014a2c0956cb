//! Faults of the file of SQLite.

use super::*;

fn new_user(name: &str) -> NewUser {
    NewUser {
        email: format!("{name}@example.org"),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn full_disk_is_over_when_there_is_room_again() {
    let fresh = Fresh::sqlite().await;
    let store = &fresh.store;
    let user = fresh.user().await;
    let mut new = new_order(user.id);
    new.items = vec![new.items[0].clone(); 10_000];
    // Of this connection only, as the file is full for this moment only.
    fresh.run("PRAGMA max_page_count = 1").await;
    let full = store.create_order(&new, None, None).await;
    assert!(matches!(full, Err(StoreError::Away(_))), "{full:?}");
    for _ in 0..2 {
        created(store.create_order(&new, None, None).await);
    }
    assert_eq!(fresh.number("SELECT count(*) FROM jobs").await, 2);
}

#[tokio::test]
async fn file_that_cannot_be_written_is_away() {
    let fresh = Fresh::sqlite().await;
    fresh.run("PRAGMA query_only = ON").await;
    let created = fresh.store.create_user(&new_user("ada")).await;
    assert!(matches!(created, Err(StoreError::Away(_))), "{created:?}");
}

#[tokio::test]
async fn change_whose_commit_fails_is_not_done() {
    let fresh = Fresh::sqlite().await;
    let store = &fresh.store;
    let user = fresh.user().await;
    let order = created(store.create_order(&new_order(user.id), None, None).await);
    // What a full disk does: the statements succeed, and their commit fails.
    fresh
        .run(
            "CREATE TABLE late (id BLOB REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER late_user AFTER UPDATE ON users
                 BEGIN INSERT INTO late VALUES (x'00'); END;
             CREATE TRIGGER late_order AFTER UPDATE ON orders
                 BEGIN INSERT INTO late VALUES (x'00'); END;
             CREATE TRIGGER late_job AFTER UPDATE ON jobs
                 BEGIN INSERT INTO late VALUES (x'00'); END;",
        )
        .await;
    let changed = store.update_user(user.id, &new_user("eve"), None).await;
    assert!(changed.is_err(), "{changed:?}");
    let changed = store
        .update_order(order.id, &new_order(user.id), None)
        .await;
    assert!(changed.is_err(), "{changed:?}");
    let changed = store.cancel_order(order.id, None).await;
    assert!(changed.is_err(), "{changed:?}");
    let claimed = store.claim("one", Duration::from_secs(60)).await;
    assert!(claimed.is_err(), "{claimed:?}");
    assert_eq!(store.user(user.id).await.expect("read"), Some(user));
    assert_eq!(store.order(order.id).await.expect("read"), Some(order));
}
