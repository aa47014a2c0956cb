use super::*;

on_both! {
    a_user_is_read_as_it_was_written
    an_address_has_one_user_however_it_is_written
    a_change_needs_the_version_expected
    lists_go_on_after_the_last_one
}

fn named(email: &str) -> NewUser {
    NewUser {
        email: email.to_owned(),
        name: "Ada".to_owned(),
    }
}

async fn a_user_is_read_as_it_was_written(fresh: Fresh) {
    let store = &fresh.store;
    let user = store.create_user(&named("Ada@example.org")).await;
    let user = user.expect("a user");
    assert_eq!((user.version, user.email.as_str()), (1, "Ada@example.org"));
    assert_eq!(store.user(user.id).await.expect("read"), Some(user));
    assert_eq!(store.user(Uuid::now_v7()).await.expect("read"), None);
}

async fn an_address_has_one_user_however_it_is_written(fresh: Fresh) {
    let store = &fresh.store;
    let ada = store.create_user(&named("ada@example.org")).await;
    let bob = store.create_user(&named("bob@example.org")).await;
    let (ada, bob) = (ada.expect("a user"), bob.expect("a user"));
    for taken in [
        store.create_user(&named("ADA@example.org")).await.err(),
        store
            .update_user(bob.id, &named("Ada@Example.org"), None)
            .await
            .err(),
    ] {
        assert!(matches!(
            taken,
            Some(StoreError::Conflict("duplicate-email"))
        ));
    }
    let own = named("Ada@Example.org");
    let own = store.update_user(ada.id, &own, None).await;
    assert!(matches!(own, Ok(Change::Done(_))));
}

async fn a_change_needs_the_version_expected(fresh: Fresh) {
    let store = &fresh.store;
    let user = fresh.user().await;
    let new = named("new@example.org");

    let change = store.update_user(user.id, &new, Some(2)).await;
    assert_eq!(change.expect("an end"), Change::Stale);
    let Ok(Change::Done(changed)) = store.update_user(user.id, &new, Some(1)).await else {
        panic!("it is version 1");
    };
    assert_eq!((changed.version, &changed.email), (2, &new.email));
    assert_eq!(changed.created_at, user.created_at);
    assert_eq!(store.user(user.id).await.expect("read"), Some(changed));

    let delete = |expected| store.delete_user(user.id, expected);
    assert_eq!(delete(Some(1)).await.expect("an end"), Change::Stale);
    assert_eq!(delete(Some(2)).await.expect("an end"), Change::Done(()));
    assert_eq!(delete(None).await.expect("an end"), Change::Missing);
    let change = store.update_user(user.id, &new, None).await;
    assert_eq!(change.expect("an end"), Change::Missing);
}

async fn lists_go_on_after_the_last_one(fresh: Fresh) {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(fresh.user().await);
    }
    let first = fresh.store.users(None, 3).await.expect("a page");
    assert_eq!(first, all[..3]);
    let rest = fresh.store.users(Some(first[2].id), 3).await;
    assert_eq!(rest.expect("a page"), all[3..]);
}
