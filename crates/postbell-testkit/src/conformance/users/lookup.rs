//! Lookups by address and by sandbox id.

use super::{SECOND, T0, add, add_connected, connection, user};
use crate::UserStore;
use postbell_core::{EmailAddress, StoredCredentials, UserId, UsersError};

async fn whose(store: &UserStore, email: &str) -> Option<UserId> {
    let email: EmailAddress = email.parse().unwrap();
    store.users.user_by_email(&email).await.unwrap()
}

/// In any case of letters. Its owner may reconnect it, until the owner is removed or disconnects.
pub async fn an_address_belongs_to_one_user(store: &UserStore) {
    let bob = add_connected(store, "bob", "Shared@Example.com", 1).await;
    let mut ann = add_connected(store, "ann", "ann@example.com", 0).await;
    ann.connect(connection("shared@example.com", T0));
    let credentials = StoredCredentials::from("of another account".to_owned());
    let refused = store.users.replace(&ann, Some(&credentials), T0).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, UsersError::AddressTaken), "{error:?}");
    let kept = store
        .credentials
        .credentials(&user("ann"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.expose(), "credentials of ann");
    let found = whose(store, "SHARED@example.com").await;
    assert_eq!(found, Some(user("bob")));
    assert_eq!(whose(store, "hared@example.com").await, None);

    let mut again = bob;
    again.connect(connection("shared@example.com", T0 + SECOND));
    store.users.replace(&again, None, T0).await.unwrap();
    store.users.remove(&user("bob")).await.unwrap();
    assert_eq!(whose(store, "shared@example.com").await, None);
    store.users.replace(&ann, None, T0).await.unwrap();
    let found = whose(store, "shared@example.com").await;
    assert_eq!(found, Some(user("ann")));
}

/// Dots and the older domain of Gmail do not matter; they do elsewhere.
pub async fn a_mailbox_has_one_user_in_all_spellings(store: &UserStore) {
    let ann = add_connected(store, "ann", "First.Last@googlemail.com", 0).await;
    add_connected(store, "bob", "first.last@example.com", 1).await;
    for (email, found) in [
        ("firstlast@gmail.com", Some(user("ann"))),
        ("f.irst.last@gmail.com", Some(user("ann"))),
        ("FirstLast@GoogleMail.com", Some(user("ann"))),
        ("firstlast@example.com", None),
        ("first.last@example.com", Some(user("bob"))),
        ("x.firstlast@gmail.com", None),
        ("x@firstlast@gmail.com", None),
    ] {
        assert_eq!(whose(store, email).await, found, "{email}");
    }
    let mut eve = add_connected(store, "eve", "eve@gmail.com", 2).await;
    eve.connect(connection("firstlast@gmail.com", T0));
    let error = store.users.replace(&eve, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::AddressTaken), "{error:?}");
    let mut again = ann;
    again.connect(connection("firstlast@gmail.com", T0 + SECOND));
    store.users.replace(&again, None, T0).await.unwrap();
}

/// It is not found.
pub async fn a_disconnected_address_belongs_to_no_user(store: &UserStore) {
    let mut record = add_connected(store, "ann", "ann@example.com", 0).await;
    record.disconnect();
    store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(whose(store, "ann@example.com").await, None);
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
