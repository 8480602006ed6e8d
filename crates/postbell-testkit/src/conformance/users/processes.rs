//! What several processes agree upon.

use std::time::Duration;

use super::{SECOND, T0, add, add_connected, get, user};
use crate::UserStore;
use postbell_core::{HistoryId, Timestamp};

const PAUSE: Duration = Duration::from_secs(300);

async fn start(store: &UserStore, name: &str, now: Timestamp) -> bool {
    let user = user(name);
    let recorded = store.users.record_start(&user, now, PAUSE);
    recorded.await.unwrap()
}

/// A machine that crashes on every mail must not cost its owner a start each.
pub async fn a_start_is_recorded_once_within_the_pause(store: &UserStore) {
    add(store, "ann").await;
    add(store, "bob").await;
    assert!(start(store, "ann", T0).await);
    assert!(!start(store, "ann", T0 + SECOND).await);
    assert!(start(store, "bob", T0 + SECOND).await, "another machine");
    assert!(!start(store, "ann", T0 + (PAUSE - SECOND)).await);
    assert!(start(store, "ann", T0 + PAUSE).await);
    assert!(!start(store, "ann", T0 + PAUSE + SECOND).await);
    assert!(!start(store, "cat", T0).await, "there is no cat");

    let ahead = T0 + PAUSE * 1000;
    assert!(start(store, "ann", ahead).await);
    assert!(
        start(store, "ann", T0 + PAUSE * 3).await,
        "the clock was ahead"
    );
}

/// Two processes ask when a delivery fails.
pub async fn of_two_concurrent_starts_one_is_recorded(store: &UserStore) {
    add(store, "ann").await;
    let (one, other) = tokio::join!(start(store, "ann", T0), start(store, "ann", T0));
    assert!(one != other, "{one} {other}");
}

/// Else a mail would make an operator's change begin again.
pub async fn a_recorded_start_makes_no_record_stale(store: &UserStore) {
    add(store, "ann").await;
    let read = get(store, "ann").await.unwrap();
    assert!(start(store, "ann", T0).await);
    assert_eq!(get(store, "ann").await.unwrap(), read);
    store.users.replace(&read, None, T0).await.unwrap();
    assert!(!start(store, "ann", T0 + SECOND).await, "it is kept");
}

/// For the pages that are open.
pub async fn a_mark_differs_once_its_user_has_changed(store: &UserStore) {
    add_connected(store, "ann", "ann@example.com", 0).await;
    add(store, "bob").await;
    let users = ["ann", "bob", "cat"].map(user);
    let marks = async || {
        let mut marks = store.users.marks(&users).await.unwrap();
        marks.sort();
        assert_eq!(marks.len(), 2);
        marks
    };
    let first = marks().await;
    assert_eq!(marks().await, first);
    let record = get(store, "ann").await.unwrap();
    store.users.replace(&record, None, T0).await.unwrap();
    let second = marks().await;
    assert_ne!(second[0], first[0]);
    assert_eq!(second[1], first[1]);
    let raised = store.users.raise_history_id(&users[0], HistoryId::new(7));
    assert!(raised.await.unwrap());
    assert_ne!(marks().await[0], second[0]);
    assert_eq!(store.users.marks(&[]).await.unwrap(), []);
}
