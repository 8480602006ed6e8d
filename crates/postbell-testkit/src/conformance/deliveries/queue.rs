//! Accepting and claiming.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, due_at, notification,
    notification_of, user,
};
use crate::{Deliveries, RELAY};
use postbell_core::{Accepted, ClaimOrder, DUPLICATE_WINDOW, Settlement};

/// To the byte.
pub async fn a_notification_is_claimed_unchanged(deliveries: &Deliveries) {
    assert_eq!(accept(deliveries, "m1", 7, T0).await, Accepted::Queued);

    let claim = claim(deliveries, T0).await;
    assert_eq!(claim.notification, notification("m1", 7));
    assert_eq!((claim.attempt, claim.accepted_at), (0, T0));
}

/// Pub/Sub delivers at least once; the queue accepts once.
pub async fn a_repeat_within_24_hours_is_a_duplicate(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let first = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();

    let almost_a_day = T0 + (DUPLICATE_WINDOW - SECOND);
    assert_eq!(
        accept(deliveries, "m1", 7, almost_a_day).await,
        Accepted::Duplicate
    );
    assert_nothing_due(deliveries, almost_a_day).await;
    assert_eq!(
        accept(deliveries, "m1", 7, T0 + DUPLICATE_WINDOW).await,
        Accepted::Queued
    );
}

/// Message ids are unique within a topic, and every user may have a topic of their own.
pub async fn the_same_message_id_of_two_users_is_no_duplicate(deliveries: &Deliveries) {
    for name in ["ann", "bob"] {
        let accepted = deliveries
            .queue
            .accept(notification_of(name, "m1", 7), T0)
            .await
            .unwrap();
        assert_eq!(accepted, Accepted::Queued);
    }
    assert_eq!(
        deliveries
            .queue
            .claim(RELAY, T0, LEASE, 10)
            .await
            .unwrap()
            .claims
            .len(),
        2
    );
}

/// The order of arrival does not matter; the history id does.
pub async fn the_greatest_history_id_is_pending_in_any_order(deliveries: &Deliveries) {
    accept(deliveries, "m1", 8, T0).await;
    for (message, history_id) in [("m2", 10), ("m3", 9), ("m4", 10)] {
        assert_eq!(
            accept(deliveries, message, history_id, T0).await,
            Accepted::Merged
        );
    }
    assert_eq!(
        claim(deliveries, T0).await.notification,
        notification("m2", 10)
    );
}

/// Gmail's ids are unsigned.
pub async fn history_ids_beyond_two_to_the_63_are_ordered(deliveries: &Deliveries) {
    accept(deliveries, "m1", 9, T0).await;
    accept(deliveries, "m2", u64::MAX, T0).await;
    accept(deliveries, "m3", i64::MAX.unsigned_abs() + 1, T0).await;
    assert_eq!(
        claim(deliveries, T0).await.notification,
        notification("m2", u64::MAX)
    );
}

/// Nor is it due later.
pub async fn a_delivered_notification_does_not_return(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let claim = claim(deliveries, T0).await;
    deliveries
        .queue
        .settle(&claim, Settlement::Delivered, T0)
        .await
        .unwrap();

    assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
    assert_eq!(due_at(deliveries).await, None);
}

/// The machine may have read the mailbox just before the newer change.
pub async fn a_notification_during_a_delivery_is_delivered_after_it(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let first = claim(deliveries, T0).await;
    accept(deliveries, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(deliveries, T0 + SECOND).await;

    deliveries
        .queue
        .settle(&first, Settlement::Delivered, T0 + SECOND)
        .await
        .unwrap();
    let second = claim(deliveries, T0 + SECOND).await;
    assert_eq!(second.notification, notification("m2", 8));
    assert_eq!((second.attempt, second.accepted_at), (0, T0 + SECOND));
}

/// The delivery in progress has the greater history id.
pub async fn a_notification_that_a_delivery_covers_is_not_delivered(deliveries: &Deliveries) {
    accept(deliveries, "m1", 8, T0).await;
    let first = claim(deliveries, T0).await;
    accept(deliveries, "m2", 7, T0).await;

    deliveries
        .queue
        .settle(&first, Settlement::Delivered, T0)
        .await
        .unwrap();
    assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
}

/// No mailbox waits behind one that became due later.
pub async fn the_longest_due_are_claimed_first_up_to_the_limit(deliveries: &Deliveries) {
    for (seconds, name) in [(2, "cid"), (0, "ann"), (1, "bob")] {
        let now = T0 + seconds * SECOND;
        deliveries
            .queue
            .accept(notification_of(name, "m1", 7), now)
            .await
            .unwrap();
    }
    let claims = deliveries
        .queue
        .claim(RELAY, T0 + MINUTE, LEASE, 2)
        .await
        .unwrap()
        .claims;
    let names: Vec<_> = claims
        .iter()
        .map(|claim| claim.notification.user.as_str())
        .collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(
        claim(deliveries, T0 + MINUTE).await.notification.user,
        user("cid")
    );
}

/// New mail does not wait behind a backlog.
pub async fn the_latest_due_are_claimed_first_where_that_is_asked_for(deliveries: &Deliveries) {
    for (seconds, name) in [(2, "cid"), (0, "ann"), (1, "bob")] {
        let now = T0 + seconds * SECOND;
        let accepted = deliveries.queue.accept(notification_of(name, "m1", 7), now);
        accepted.await.unwrap();
    }
    let now = T0 + 2 * SECOND;
    let order = ClaimOrder::LatestDue;
    let claimed = deliveries.queue.claim_in(order, RELAY, now, LEASE, 2);
    let claims = claimed.await.unwrap().claims;
    let names: Vec<_> = claims
        .iter()
        .map(|claim| claim.notification.user.as_str())
        .collect();
    assert_eq!(names, ["cid", "bob"]);
    assert_eq!(claim(deliveries, now).await.notification.user, user("ann"));
}

/// And stays so after a write.
pub async fn a_new_store_is_ready(deliveries: &Deliveries) {
    deliveries.queue.check_ready(T0).await.unwrap();
    accept(deliveries, "m1", 7, T0).await;
    deliveries.queue.check_ready(T0).await.unwrap();
}
