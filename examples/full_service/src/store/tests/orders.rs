use super::*;

on_both! {
    an_order_comes_with_its_job_or_not_at_all
    a_key_replays_the_first_answer
    a_key_at_once_in_many_requests_makes_one_order
    an_order_changes_while_it_is_placed
    lists_are_of_a_user_and_a_status
}

async fn an_order_comes_with_its_job_or_not_at_all(fresh: Fresh) {
    let store = &fresh.store;
    let user = fresh.user().await;
    let order = created(
        store
            .create_order(&new_order(user.id), None, Some("r-1"))
            .await,
    );
    assert_eq!(order.status, OrderStatus::Placed);
    assert_eq!(
        store.order(order.id).await.expect("read"),
        Some(order.clone())
    );
    let job = store.claim("w", Duration::from_secs(60)).await;
    let job = job.expect("an answer").expect("a job");
    assert_eq!(job.kind, CONFIRM_ORDER);
    assert_eq!(job.payload["order_id"], order.id.to_string());
    assert_eq!(job.request_id.as_deref(), Some("r-1"));

    let key = key("unknown", 1);
    let new = new_order(Uuid::now_v7());
    let unknown = store.create_order(&new, Some(&key), None).await;
    assert!(matches!(unknown, Err(StoreError::Conflict("unknown-user"))));
    assert_eq!(fresh.number("SELECT count(*) FROM jobs").await, 1);
    let keys = "SELECT count(*) FROM idempotency_keys";
    assert_eq!(fresh.number(keys).await, 0);

    let delete = store.delete_user(user.id, None).await;
    assert!(matches!(
        delete,
        Err(StoreError::Conflict("user-has-orders"))
    ));
}

async fn a_key_replays_the_first_answer(fresh: Fresh) {
    let store = &fresh.store;
    let new = new_order(fresh.user().await.id);
    let none = store.answer(&key("k", 1)).await;
    assert_eq!(none.expect("an end"), None);
    let first = created(store.create_order(&new, Some(&key("k", 1)), None).await);
    // The answer is the first one, whatever has become of the order.
    let confirmed = store.confirm_order(first.id).await;
    assert!(confirmed.expect("an end"));
    let again = store.create_order(&new, Some(&key("k", 1)), None).await;
    assert_eq!(again.expect("an end"), Created::Replayed(first.clone()));
    let alone = store.answer(&key("k", 1)).await;
    assert_eq!(alone.expect("an end"), Some(Created::Replayed(first)));
    let other = store.create_order(&new, Some(&key("k", 2)), None).await;
    assert_eq!(other.expect("an end"), Created::KeyReused);
    let alone = store.answer(&key("k", 2)).await;
    assert_eq!(alone.expect("an end"), Some(Created::KeyReused));

    // A day later.
    let day_ago = match fresh.store {
        Store::Sqlite(_) => "created_at - 86400000001",
        Store::Postgres(_) => "created_at - interval '24 hours 1 microsecond'",
    };
    fresh
        .run(&format!(
            "UPDATE idempotency_keys SET created_at = {day_ago}"
        ))
        .await;
    let other = created(store.create_order(&new, Some(&key("k", 2)), None).await);
    let again = store.create_order(&new, Some(&key("k", 2)), None).await;
    assert_eq!(again.expect("an end"), Created::Replayed(other));
    assert_eq!(fresh.number("SELECT count(*) FROM orders").await, 2);
}

async fn a_key_at_once_in_many_requests_makes_one_order(fresh: Fresh) {
    let new = new_order(fresh.user().await.id);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, new) = (fresh.store.clone(), new.clone());
        requests.spawn(async move {
            let key = key("same", 1);
            store.create_order(&new, Some(&key), None).await
        });
    }
    let mut made = 0;
    while let Some(end) = requests.join_next().await {
        match end.expect("no panic").expect("an end") {
            Created::New(_) => made += 1,
            Created::Replayed(_) | Created::Running => {}
            Created::KeyReused => panic!("the same request"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(fresh.number("SELECT count(*) FROM orders").await, 1);
    let key = key("same", 1);
    let again = fresh.store.create_order(&new, Some(&key), None).await;
    assert!(matches!(again, Ok(Created::Replayed(_))));
}

async fn an_order_changes_while_it_is_placed(fresh: Fresh) {
    let store = &fresh.store;
    let user = fresh.user().await;
    let order = created(store.create_order(&new_order(user.id), None, None).await);
    let mut new = new_order(user.id);
    new.items.truncate(1);
    new.total = 900;

    let stale = store.update_order(order.id, &new, Some(7)).await;
    assert_eq!(stale.expect("an end"), Change::Stale);
    let Ok(Change::Done(changed)) = store.update_order(order.id, &new, Some(1)).await else {
        panic!("it is version 1");
    };
    assert_eq!((changed.version, changed.total), (2, 900));
    assert_eq!(changed.items, new.items);
    new.user_id = Uuid::now_v7();
    let unknown = store.update_order(order.id, &new, None).await;
    assert!(matches!(unknown, Err(StoreError::Conflict("unknown-user"))));
    new.user_id = user.id;

    assert!(store.confirm_order(order.id).await.expect("an end"));
    assert!(!store.confirm_order(order.id).await.expect("an end"));
    let late = store.update_order(order.id, &new, Some(3)).await;
    assert_eq!(late.expect("an end"), Change::Refused("not-changeable"));
    // A client that saw the order before its confirmation learns that first.
    let stale = store.update_order(order.id, &new, Some(2)).await;
    assert_eq!(stale.expect("an end"), Change::Stale);

    let Ok(Change::Done(cancelled)) = store.cancel_order(order.id, Some(3)).await else {
        panic!("it is version 3");
    };
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    let again = store.cancel_order(order.id, None).await;
    assert_eq!(again.expect("an end"), Change::Refused("not-cancellable"));
    assert!(!store.confirm_order(order.id).await.expect("an end"));
    let missing = store.cancel_order(Uuid::now_v7(), None).await;
    assert_eq!(missing.expect("an end"), Change::Missing);
}

async fn lists_are_of_a_user_and_a_status(fresh: Fresh) {
    let store = &fresh.store;
    let (ada, bob) = (fresh.user().await.id, fresh.user().await.id);
    let mut ids = Vec::new();
    for user in [ada, bob, ada] {
        let order = created(store.create_order(&new_order(user), None, None).await);
        ids.push(order.id);
    }
    assert!(store.confirm_order(ids[2]).await.expect("an end"));
    let listed = async |user_id, status, after, limit| {
        let filter = OrderFilter { user_id, status };
        let orders = store.orders(&filter, after, limit).await.expect("a page");
        orders.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, None, 9).await, ids);
    assert_eq!(listed(None, None, Some(ids[0]), 1).await, [ids[1]]);
    assert_eq!(listed(Some(ada), None, None, 9).await, [ids[0], ids[2]]);
    let confirmed = Some(OrderStatus::Confirmed);
    assert_eq!(listed(Some(ada), confirmed, None, 9).await, [ids[2]]);
    assert!(listed(Some(bob), confirmed, None, 9).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_key_is_read_without_its_claim() {
    let fresh = Fresh::postgres().await;
    let new = new_order(fresh.user().await.id);
    let first = created(
        fresh
            .store
            .create_order(&new, Some(&key("k", 1)), None)
            .await,
    );
    let mut session = fresh.server().expect("PostgreSQL").session();
    session.ask("BEGIN");
    session.ask("SELECT pg_advisory_xact_lock(hashtextextended('k', 0))");
    let again = fresh
        .store
        .create_order(&new, Some(&key("k", 1)), None)
        .await;
    assert_eq!(again.expect("an end"), Created::Running);
    let alone = fresh.store.answer(&key("k", 1)).await;
    assert_eq!(alone.expect("an end"), Some(Created::Replayed(first)));
    session.ask("ROLLBACK");
}
