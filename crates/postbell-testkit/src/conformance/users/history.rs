//! The history id up to which mail was delivered.

use super::{T0, add, add_connected, get, remove, user};
use crate::UserStore;
use postbell_core::HistoryId;

async fn raise(store: &UserStore, name: &str, history_id: u64) -> bool {
    let (user, history_id) = (user(name), HistoryId::new(history_id));
    let raised = store.users.raise_history_id(&user, history_id);
    raised.await.unwrap()
}

async fn known(store: &UserStore, name: &str) -> Option<u64> {
    let record = get(store, name).await.unwrap();
    record.last_history_id.map(HistoryId::get)
}

/// As a number: "9" comes before "10".
pub async fn a_history_id_only_rises(store: &UserStore) {
    add_connected(store, "ann", "ann@example.com", 0).await;
    for (reported, is_news, then_known) in [
        (9, true, 9),
        (10, true, 10),
        (10, false, 10),
        (2, false, 10),
        (11, true, 11),
    ] {
        assert_eq!(raise(store, "ann", reported).await, is_news);
        assert_eq!(known(store, "ann").await, Some(then_known));
    }
    assert!(!raise(store, "bob", 7).await, "there is no bob");
}

/// SQLite's own numbers end at 2^63 - 1, and JavaScript's at 2^53.
pub async fn history_ids_beyond_two_to_the_63_rise_too(store: &UserStore) {
    add_connected(store, "ann", "ann@example.com", 0).await;
    for reported in [
        0,
        (1 << 53) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX,
    ] {
        assert!(raise(store, "ann", reported).await, "{reported}");
        assert_eq!(known(store, "ann").await, Some(reported));
        assert!(!raise(store, "ann", reported).await, "{reported}");
    }
    assert!(!raise(store, "ann", 1 << 62).await);
    let record = get(store, "ann").await.unwrap();
    let written = store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(written.last_history_id, Some(HistoryId::new(u64::MAX)));
}

/// A late report about a disconnected account must not affect the next one.
pub async fn no_history_id_is_stored_without_a_connection(store: &UserStore) {
    add(store, "ann").await;
    assert!(!raise(store, "ann", 7).await);
    let mut record = add_connected(store, "bob", "bob@example.com", 0).await;
    record.disconnect();
    store.users.replace(&record, None, T0).await.unwrap();
    assert!(!raise(store, "bob", 7).await);
    assert_eq!(known(store, "bob").await, None);
}

/// Mail arrives all the time.
pub async fn a_raised_history_id_makes_no_record_stale(store: &UserStore) {
    let before = add_connected(store, "ann", "ann@example.com", 0).await;
    raise(store, "ann", 7).await;
    let written = store.users.replace(&before, None, T0).await.unwrap();
    assert_eq!(written.last_history_id, Some(HistoryId::new(7)));

    raise(store, "ann", 8).await;
    let again = store.users.replace(&written, None, T0).await.unwrap();
    assert_eq!(again.last_history_id, Some(HistoryId::new(8)));
    assert_eq!(known(store, "ann").await, Some(8));
}

/// The history ids of two mailboxes cannot be compared.
pub async fn another_account_begins_without_a_history_id(store: &UserStore) {
    let mut record = add_connected(store, "ann", "ann@example.com", 0).await;
    raise(store, "ann", 7).await;
    let mut google = record.google.clone().unwrap();
    google.email = Some("new@example.com".parse().unwrap());
    record.connect(google);
    let written = store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!(written.last_history_id, None);
    assert!(raise(store, "ann", 3).await);

    assert!(remove(store, "ann").await);
    add_connected(store, "ann", "ann@example.com", 0).await;
    assert_eq!(known(store, "ann").await, None);
}
