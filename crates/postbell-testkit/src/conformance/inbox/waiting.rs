//! What waits, and in what order it is claimed.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, notification, notification_of,
    user,
};
use postbell_core::{Accepted, DUPLICATE_WINDOW, Inbox, Settlement};

/// What comes out is what went in, to the byte.
pub async fn what_was_accepted_is_claimed_unchanged(inbox: &dyn Inbox) {
    assert_eq!(accept(inbox, "m1", 7, T0).await, Accepted::Queued);

    let claim = claim(inbox, T0).await;
    assert_eq!(claim.notification, notification("m1", 7));
    assert_eq!((claim.failures, claim.accepted_at), (0, T0));
}

/// Pub/Sub delivers at least once; we accept once.
pub async fn a_repeat_within_24_hours_is_a_duplicate(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let first = claim(inbox, T0).await;
    inbox
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();

    let almost_a_day = T0 + (DUPLICATE_WINDOW - SECOND);
    assert_eq!(
        accept(inbox, "m1", 7, almost_a_day).await,
        Accepted::Duplicate
    );
    assert_nothing_due(inbox, almost_a_day).await;
    assert_eq!(
        accept(inbox, "m1", 7, T0 + DUPLICATE_WINDOW).await,
        Accepted::Queued
    );
}

/// Message ids are unique within a topic, and every user may have a topic of their own.
pub async fn the_same_message_id_of_two_users_is_no_duplicate(inbox: &dyn Inbox) {
    for name in ["ann", "bob"] {
        let accepted = inbox
            .accept(notification_of(name, "m1", 7), T0)
            .await
            .unwrap();
        assert_eq!(accepted, Accepted::Queued);
    }
    assert_eq!(inbox.claim(T0, LEASE, 10).await.unwrap().len(), 2);
}

/// Arrival order says nothing; the history id does.
pub async fn the_greatest_history_id_waits_whatever_the_order(inbox: &dyn Inbox) {
    accept(inbox, "m1", 8, T0).await;
    for (message, history_id) in [("m2", 10), ("m3", 9), ("m4", 10)] {
        assert_eq!(
            accept(inbox, message, history_id, T0).await,
            Accepted::Merged
        );
    }
    assert_eq!(claim(inbox, T0).await.notification, notification("m2", 10));
}

/// Gmail's ids are unsigned.
pub async fn history_ids_beyond_two_to_the_63_are_ordered(inbox: &dyn Inbox) {
    accept(inbox, "m1", 9, T0).await;
    accept(inbox, "m2", u64::MAX, T0).await;
    accept(inbox, "m3", i64::MAX.unsigned_abs() + 1, T0).await;
    assert_eq!(
        claim(inbox, T0).await.notification,
        notification("m2", u64::MAX)
    );
}

/// A delivered notification does not come back.
pub async fn what_is_done_is_gone(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let claim = claim(inbox, T0).await;
    inbox
        .settle(&claim, Settlement::Delivered, T0)
        .await
        .unwrap();

    assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
    assert_eq!(inbox.next_due().await.unwrap(), None);
}

/// The machine may have read the mailbox just before the newer change.
pub async fn what_arrives_during_a_delivery_is_delivered_after_it(inbox: &dyn Inbox) {
    accept(inbox, "m1", 7, T0).await;
    let first = claim(inbox, T0).await;
    accept(inbox, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(inbox, T0 + SECOND).await;

    inbox
        .settle(&first, Settlement::Delivered, T0 + SECOND)
        .await
        .unwrap();
    let second = claim(inbox, T0 + SECOND).await;
    assert_eq!(second.notification, notification("m2", 8));
    assert_eq!((second.failures, second.accepted_at), (0, T0 + SECOND));
}

/// A delivery that began with a later history id covers what came late.
pub async fn what_an_ongoing_delivery_covers_is_not_delivered_again(inbox: &dyn Inbox) {
    accept(inbox, "m1", 8, T0).await;
    let first = claim(inbox, T0).await;
    accept(inbox, "m2", 7, T0).await;

    inbox
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();
    assert_nothing_due(inbox, T0 + DUPLICATE_WINDOW).await;
}

/// Nobody waits behind those who came later.
pub async fn the_longest_due_are_claimed_first_and_no_more_than_asked(inbox: &dyn Inbox) {
    for (seconds, name) in [(2, "cid"), (0, "ann"), (1, "bob")] {
        let now = T0 + seconds * SECOND;
        inbox
            .accept(notification_of(name, "m1", 7), now)
            .await
            .unwrap();
    }
    let claims = inbox.claim(T0 + MINUTE, LEASE, 2).await.unwrap();
    let names: Vec<_> = claims
        .iter()
        .map(|claim| claim.notification.user.as_str())
        .collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(
        claim(inbox, T0 + MINUTE).await.notification.user,
        user("cid")
    );
}

/// No long transaction, and no id forgotten before its time.
pub async fn old_ids_are_forgotten_in_batches(inbox: &dyn Inbox) {
    for message in ["m1", "m2", "m3"] {
        accept(inbox, message, 7, T0).await;
    }
    accept(inbox, "m4", 7, T0 + SECOND).await;
    let later = T0 + DUPLICATE_WINDOW;

    for expected in [2, 1, 0] {
        assert_eq!(inbox.forget_old_ids(later, 2).await.unwrap(), expected);
    }
    assert_eq!(accept(inbox, "m4", 7, later).await, Accepted::Duplicate);
}
