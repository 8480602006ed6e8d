//! Lookups by address and by sandbox id.

use super::{SECOND, T0, add, add_connected, connection, remove, user};
use crate::UserStore;
use postbell_core::{EmailAddress, MAX_USERS_OF_MAILBOX, StoredCredentials, UserId, UsersError};

async fn whose(store: &UserStore, email: &str) -> Vec<UserId> {
    let email: EmailAddress = email.parse().unwrap();
    store.users.users_by_email(&email).await.unwrap()
}

/// In any case of letters, the first who connected it first. One more is refused, and nothing is changed; a user who has
/// it may reconnect it.
pub async fn an_address_belongs_to_a_bounded_number_of_users(store: &UserStore) {
    let mut ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let mut expected = Vec::new();
    for seconds in 1..=16 {
        let name = format!("user{}", 99 - seconds);
        add_connected(store, &name, "Shared@Example.com", seconds).await;
        expected.push(user(&name));
    }
    assert_eq!(expected.len(), MAX_USERS_OF_MAILBOX);
    assert_eq!(whose(store, "SHARED@example.com").await, expected);
    assert_eq!(whose(store, "hared@example.com").await, []);

    ann.connect(connection("shared@example.com", T0));
    let credentials = StoredCredentials::from("of another account".to_owned());
    let refused = store.users.replace(&ann, Some(&credentials), T0).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, UsersError::AddressTaken), "{error:?}");
    let kept = store.credentials.credentials(&user("ann")).await;
    assert_eq!(kept.unwrap().unwrap().expose(), "credentials of ann");
    assert_eq!(whose(store, "shared@example.com").await, expected);

    let first = store.users.get(&expected[0]).await.unwrap();
    let mut first = first.unwrap();
    first.connect(connection("shared@example.com", T0 + SECOND * 200));
    store.users.replace(&first, None, T0).await.unwrap();
    expected.rotate_left(1);
    assert_eq!(whose(store, "shared@example.com").await, expected);

    remove(store, expected[0].as_str()).await;
    store.users.replace(&ann, None, T0).await.unwrap();
    expected[0] = user("ann");
    assert_eq!(whose(store, "shared@example.com").await, expected);
}

/// Dots and the older domain of Gmail do not matter; they do elsewhere.
pub async fn a_mailbox_has_the_same_users_in_all_spellings(store: &UserStore) {
    add_connected(store, "ann", "First.Last@googlemail.com", 0).await;
    add_connected(store, "bob", "first.last@example.com", 1).await;
    add_connected(store, "cid", "firstlast@gmail.com", 2).await;
    let both = [user("ann"), user("cid")];
    for (email, found) in [
        ("firstlast@gmail.com", &both[..]),
        ("f.irst.last@gmail.com", &both),
        ("FirstLast@GoogleMail.com", &both),
        ("firstlast@example.com", &[]),
        ("first.last@example.com", &[user("bob")]),
        ("x.firstlast@gmail.com", &[]),
        ("x@firstlast@gmail.com", &[]),
    ] {
        assert_eq!(whose(store, email).await, found, "{email}");
    }
}

/// It is not found.
pub async fn a_disconnected_address_belongs_to_no_user(store: &UserStore) {
    let mut record = add_connected(store, "ann", "ann@example.com", 0).await;
    record.disconnect();
    store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(whose(store, "ann@example.com").await, []);
}

/// Letter case matters.
pub async fn a_user_is_found_by_sandbox_id(store: &UserStore) {
    add(store, "ann").await;
    for (sandbox_id, found) in [
        ("sandbox-of-ann", Some(user("ann"))),
        ("Sandbox-of-ann", None),
        ("sandbox-of-bob", None),
    ] {
        let sandbox_id = sandbox_id.parse().unwrap();
        let whose = store.users.user_by_sandbox(&sandbox_id).await.unwrap();
        assert_eq!(whose, found, "{sandbox_id}");
    }
}
