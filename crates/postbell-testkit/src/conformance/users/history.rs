//! How far a user's mail was delivered.

use super::{SECOND, T0, add, add_connected, get, user};
use postbell_core::{HistoryId, Users, UsersError};

async fn raise(instances: &dyn Users, name: &str, history_id: u64) -> bool {
    let (user, history_id) = (user(name), HistoryId::new(history_id));
    let raised = instances.raise_history_id(&user, history_id, T0 + SECOND);
    raised.await.unwrap()
}

async fn known(instances: &dyn Users, name: &str) -> Option<u64> {
    let record = get(instances, name).await.unwrap();
    record.last_history_id.map(HistoryId::get)
}

/// As a number: "9" comes before "10".
pub async fn a_history_id_only_rises(instances: &dyn Users) {
    add_connected(instances, "ann", "ann@example.com", 0).await;
    for (reported, is_news, then_known) in [
        (9, true, 9),
        (10, true, 10),
        (10, false, 10),
        (2, false, 10),
        (11, true, 11),
    ] {
        assert_eq!(raise(instances, "ann", reported).await, is_news);
        assert_eq!(known(instances, "ann").await, Some(then_known));
    }
    assert!(!raise(instances, "bob", 7).await, "there is no bob");
}

/// SQLite's own numbers end at 2^63 - 1, and JavaScript's at 2^53.
pub async fn history_ids_beyond_two_to_the_63_rise_too(instances: &dyn Users) {
    add_connected(instances, "ann", "ann@example.com", 0).await;
    for reported in [
        0,
        (1 << 53) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX,
    ] {
        assert!(raise(instances, "ann", reported).await, "{reported}");
        assert_eq!(known(instances, "ann").await, Some(reported));
        assert!(!raise(instances, "ann", reported).await, "{reported}");
    }
    assert!(!raise(instances, "ann", 1 << 62).await);
    let record = get(instances, "ann").await.unwrap();
    let written = instances.replace(&record, None, T0).await.unwrap();
    assert_eq!(written.last_history_id, Some(HistoryId::new(u64::MAX)));
}

/// What an account's last delivery reports after it was disconnected is nothing to the next one.
pub async fn no_history_id_is_noted_without_a_connection(instances: &dyn Users) {
    add(instances, "ann").await;
    assert!(!raise(instances, "ann", 7).await);
    let mut record = add_connected(instances, "bob", "bob@example.com", 0).await;
    record.disconnect();
    instances.replace(&record, None, T0).await.unwrap();
    assert!(!raise(instances, "bob", 7).await);
    assert_eq!(known(instances, "bob").await, None);
}

/// Or that one would set it back.
pub async fn a_history_id_that_rose_makes_a_writer_read_again(instances: &dyn Users) {
    let stale = add_connected(instances, "ann", "ann@example.com", 0).await;
    raise(instances, "ann", 7).await;
    let error = instances.replace(&stale, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::Changed { .. }), "{error:?}");
    assert_eq!(known(instances, "ann").await, Some(7));
    let record = get(instances, "ann").await.unwrap();
    assert_eq!(record.updated_at, T0 + SECOND);
}
