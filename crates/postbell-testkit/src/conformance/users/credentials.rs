//! Credentials of the users' Google accounts.

use super::{T0, add, add_connected, connection, user};
use crate::UserStore;
use postbell_core::StoredCredentials;

async fn stored(store: &UserStore, name: &str) -> Option<String> {
    let credentials = store.credentials.credentials(&user(name)).await.unwrap();
    credentials.map(|credentials| credentials.expose().to_owned())
}

/// To the byte, per user.
pub async fn credentials_are_read_back_unchanged(store: &UserStore) {
    let mut ann = add(store, "ann").await;
    add_connected(store, "bob", "bob@example.com", 0).await;
    assert_eq!(stored(store, "ann").await, None);
    ann.connect(connection("ann@example.com", T0));
    for text in ["{\"a\": \"ü\"}\n", &"x".repeat(100_000)] {
        let credentials = StoredCredentials::from(text.to_owned());
        ann = store
            .users
            .replace(&ann, Some(&credentials), T0)
            .await
            .unwrap();
        assert_eq!(stored(store, "ann").await.as_deref(), Some(text));
    }
    let bobs = stored(store, "bob").await;
    assert_eq!(bobs.as_deref(), Some("credentials of bob"));
    assert_eq!(stored(store, "cid").await, None);
}

/// A change of another field does not affect them.
pub async fn a_write_without_credentials_keeps_the_stored_ones(store: &UserStore) {
    let mut record = add_connected(store, "ann", "ann@example.com", 0).await;
    record.notifications_enabled = false;
    store.users.replace(&record, None, T0).await.unwrap();
    let kept = stored(store, "ann").await;
    assert_eq!(kept.as_deref(), Some("credentials of ann"));
}

/// They are deleted, not hidden.
pub async fn credentials_are_deleted_with_the_connection(store: &UserStore) {
    let mut record = add_connected(store, "ann", "ann@example.com", 0).await;
    record.disconnect();
    let mut record = store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(stored(store, "ann").await, None);
    record.connect(connection("ann@example.com", T0));
    store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(stored(store, "ann").await, None, "they do not come back");
}
