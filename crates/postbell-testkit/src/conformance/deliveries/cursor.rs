//! Repeats, and notifications that a delivery covers.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, fail_for_good, notification,
    retry, user,
};
use crate::Deliveries;
use postbell_core::{
    Accepted, CURSORS_KEPT, DUPLICATE_WINDOW, DeadLetterReason, Notification, PUBLISH_TOLERANCE,
    Replayed, Settlement, Timestamp,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn put(deliveries: &Deliveries, notification: Notification, now: Timestamp) -> Accepted {
    deliveries.queue.accept(notification, now).await.unwrap()
}

/// Claims the one mailbox that is due, and settles it as delivered.
async fn deliver_due(deliveries: &Deliveries, now: Timestamp) -> Notification {
    let claim = claim(deliveries, now).await;
    let settled = deliveries.queue.settle(&claim, Settlement::Delivered, now);
    settled.await.unwrap();
    claim.notification
}

fn published_at(time: Timestamp, message: &str, history_id: u64) -> Notification {
    Notification {
        published_at: Some(time),
        ..notification(message, history_id)
    }
}

fn of_address(address: &str, message: &str, history_id: u64) -> Notification {
    Notification {
        address: Some(address.parse().unwrap()),
        ..notification(message, history_id)
    }
}

/// Several messages may announce one history id; one delivery is for all of them.
pub async fn a_repeat_of_any_message_of_a_delivery_is_a_duplicate(deliveries: &Deliveries) {
    for message in ["m1", "m2", "m3"] {
        accept(deliveries, message, 7, T0).await;
    }
    deliver_due(deliveries, T0).await;
    for message in ["m3", "m1", "m2"] {
        let accepted = accept(deliveries, message, 7, T0 + MINUTE).await;
        assert_eq!(accepted, Accepted::Duplicate, "{message}");
    }
    assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
}

/// A test message has the last known history id, and is delivered.
pub async fn another_message_with_the_same_history_id_is_delivered(deliveries: &Deliveries) {
    for message in ["m1", "m2", "m3"] {
        assert_eq!(accept(deliveries, message, 7, T0).await, Accepted::Queued);
        let delivered = deliver_due(deliveries, T0).await;
        assert_eq!(delivered, notification(message, 7));
    }
    for message in ["m1", "m2", "m3"] {
        let repeat = accept(deliveries, message, 7, T0 + MINUTE).await;
        assert_eq!(repeat, Accepted::Duplicate);
    }
}

/// The machine may have read the mailbox before it was sent.
pub async fn another_message_during_the_delivery_of_its_history_id_is_delivered_after_it(
    deliveries: &Deliveries,
) {
    accept(deliveries, "m1", 7, T0).await;
    let first = claim(deliveries, T0).await;
    assert_eq!(accept(deliveries, "m2", 7, T0).await, Accepted::Merged);
    assert_eq!(accept(deliveries, "m1", 7, T0).await, Accepted::Duplicate);
    let settled = deliveries.queue.settle(&first, Settlement::Delivered, T0);
    settled.await.unwrap();
    assert_eq!(deliver_due(deliveries, T0).await, notification("m2", 7));
    for message in ["m1", "m2"] {
        let repeat = accept(deliveries, message, 7, T0 + MINUTE).await;
        assert_eq!(repeat, Accepted::Duplicate);
    }
    assert_nothing_due(deliveries, T0 + MINUTE).await;
}

/// Neither a repeat nor a late one restarts the schedule.
pub async fn a_repeat_of_a_pending_notification_changes_nothing(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    let settlement = retry(30 * MINUTE, MINUTE);
    let settled = deliveries.queue.settle(&failed, settlement, T0);
    settled.await.unwrap();
    let later = T0 + 2 * MINUTE;
    assert_eq!(
        accept(deliveries, "m1", 7, later).await,
        Accepted::Duplicate
    );
    assert_eq!(accept(deliveries, "m0", 6, later).await, Accepted::Merged);
    assert_nothing_due(deliveries, T0 + 29 * MINUTE).await;
    let again = claim(deliveries, T0 + 30 * MINUTE).await;
    assert_eq!(
        (again.notification, again.attempt),
        (notification("m1", 7), 1)
    );
}

/// It is not tried again without a person or a check-in.
pub async fn a_repeat_of_a_dead_letter_is_a_duplicate(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 7, DeadLetterReason::Refused).await;
    let later = T0 + HOUR;
    assert_eq!(
        accept(deliveries, "m1", 7, later).await,
        Accepted::Duplicate
    );
    assert_nothing_due(deliveries, T0 + DUPLICATE_WINDOW).await;
    assert_eq!(accept(deliveries, "m2", 8, later).await, Accepted::Queued);
}

/// Pub/Sub does not keep the order, and may deliver days later.
pub async fn a_late_notification_below_the_cursor_is_covered(deliveries: &Deliveries) {
    accept(deliveries, "m2", 8, T0 + MINUTE).await;
    deliver_due(deliveries, T0 + MINUTE).await;
    let end = T0 + MINUTE;
    for (published, now) in [
        (T0, T0 + MINUTE),
        (T0, T0 + 7 * DUPLICATE_WINDOW),
        (end, end + HOUR),
        (end + PUBLISH_TOLERANCE, end + HOUR),
    ] {
        let late = published_at(published, "m1", 7);
        assert_eq!(put(deliveries, late, now).await, Accepted::Covered);
        assert_nothing_due(deliveries, now).await;
    }
}

/// A message with an invented history id, or the history of a mailbox that was replaced, must not
/// silence the mailbox.
pub async fn a_notification_that_was_published_after_the_delivery_proves_the_cursor_wrong(
    deliveries: &Deliveries,
) {
    accept(deliveries, "invented", u64::MAX, T0).await;
    deliver_due(deliveries, T0).await;
    let published = T0 + PUBLISH_TOLERANCE + Duration::from_millis(1);
    let real = published_at(published, "m1", 7);
    let now = T0 + HOUR;
    assert_eq!(put(deliveries, real.clone(), now).await, Accepted::Queued);
    assert_eq!(deliver_due(deliveries, now).await, real);

    // The cursor has begun anew.
    let repeat = put(deliveries, real, now).await;
    assert_eq!(repeat, Accepted::Duplicate);
    let late = put(deliveries, notification("m0", 6), now).await;
    assert_eq!(late, Accepted::Covered);
    let next = published_at(published, "m2", 8);
    assert_eq!(put(deliveries, next, now).await, Accepted::Queued);
}

/// Delivered once too often rather than not at all.
pub async fn a_message_without_a_publish_time_is_never_covered_by_a_delivery(
    deliveries: &Deliveries,
) {
    accept(deliveries, "m1", 7, T0).await;
    deliver_due(deliveries, T0).await;
    let timeless = Notification {
        published_at: None,
        ..notification("m0", 6)
    };
    assert_eq!(
        put(deliveries, timeless.clone(), T0).await,
        Accepted::Queued
    );
    assert_eq!(deliver_due(deliveries, T0).await, timeless);
    assert_eq!(put(deliveries, timeless, T0).await, Accepted::Duplicate);
}

/// Else nothing below it would be delivered until that time.
pub async fn a_cursor_of_a_clock_that_was_ahead_covers_nothing(deliveries: &Deliveries) {
    let ahead = T0 + 30 * DUPLICATE_WINDOW;
    accept(deliveries, "invented", 1000, ahead).await;
    deliver_due(deliveries, ahead).await;
    let real = published_at(T0 + HOUR, "m1", 7);
    assert_eq!(put(deliveries, real, T0 + HOUR).await, Accepted::Queued);
}

/// The user has connected another account, whose history ids are of another mailbox.
pub async fn a_notification_of_another_address_replaces_the_pending_one(deliveries: &Deliveries) {
    put(deliveries, of_address("old@example.com", "m1", 900), T0).await;
    let new = of_address("new@example.com", "m2", 7);
    assert_eq!(put(deliveries, new.clone(), T0).await, Accepted::Merged);
    let first = claim(deliveries, T0).await;
    assert_eq!(first.notification, new);

    // So does one that arrives during the delivery.
    let third = of_address("third@example.com", "m3", 3);
    put(deliveries, third.clone(), T0).await;
    let settled = deliveries.queue.settle(&first, Settlement::Delivered, T0);
    settled.await.unwrap();
    assert_eq!(deliver_due(deliveries, T0).await, third);
}

/// In every spelling.
pub async fn every_address_has_its_own_cursor(deliveries: &Deliveries) {
    let ann = of_address("a.nn@gmail.com", "m1", 900);
    let bob = of_address("bob@example.com", "m2", 7);
    for notification in [&ann, &bob] {
        let accepted = put(deliveries, notification.clone(), T0).await;
        assert_eq!(accepted, Accepted::Queued);
        deliver_due(deliveries, T0).await;
    }
    for notification in [ann, bob, of_address("ann@googlemail.com", "m1", 900)] {
        let accepted = put(deliveries, notification, T0 + MINUTE).await;
        assert_eq!(accepted, Accepted::Duplicate);
    }
    assert_nothing_due(deliveries, T0 + MINUTE).await;
}

/// A sender that pushes for invented addresses cannot fill the disk.
pub async fn the_cursors_of_the_last_addresses_are_kept(deliveries: &Deliveries) {
    let of_number = |number: usize| of_address(&format!("{number}@example.com"), "m1", 7);
    let mut now = T0;
    for number in 0..=CURSORS_KEPT {
        now = now + SECOND;
        put(deliveries, of_number(number), now).await;
        deliver_due(deliveries, now).await;
    }
    for number in 1..=CURSORS_KEPT {
        let accepted = put(deliveries, of_number(number), now).await;
        assert_eq!(accepted, Accepted::Duplicate, "{number}");
    }
    assert_eq!(put(deliveries, of_number(0), now).await, Accepted::Queued);
}

/// What was delivered since stays recognised.
pub async fn a_replayed_dead_letter_does_not_lower_the_cursor(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 1, DeadLetterReason::Refused).await;
    let now = T0 + HOUR;
    accept(deliveries, "m2", 2, now).await;
    deliver_due(deliveries, now).await;
    let letters = deliveries.log.dead_letters(None, None, 9).await.unwrap();
    let replayed = deliveries.log.replay(letters[0].id, now).await;
    assert_eq!(replayed.unwrap(), Replayed::Queued);
    assert_eq!(deliver_due(deliveries, now).await, notification("m1", 1));
    let repeat = accept(deliveries, "m2", 2, now).await;
    assert_eq!(repeat, Accepted::Duplicate);
}

/// For an operator's alert: the first mail waits as long.
pub async fn a_newer_notification_does_not_hide_how_long_a_mailbox_waits(deliveries: &Deliveries) {
    let oldest = async || deliveries.log.depth().await.unwrap().oldest_accepted_at;
    accept(deliveries, "m1", 7, T0).await;
    accept(deliveries, "m2", 8, T0 + MINUTE).await;
    assert_eq!(oldest().await, Some(T0));
    let first = claim(deliveries, T0 + MINUTE).await;
    accept(deliveries, "m3", 9, T0 + MINUTE + SECOND).await;
    let now = T0 + MINUTE + 2 * SECOND;
    let failed = deliveries.queue.settle(&first, retry(SECOND, SECOND), now);
    failed.await.unwrap();
    assert_eq!(oldest().await, Some(T0));

    let claims = deliveries
        .queue
        .claim(T0 + HOUR, LEASE, 1)
        .await
        .unwrap()
        .claims;
    accept(deliveries, "m4", 10, T0 + HOUR).await;
    let settled = deliveries
        .queue
        .settle(&claims[0], Settlement::Delivered, T0 + HOUR);
    settled.await.unwrap();
    assert_eq!(oldest().await, Some(T0 + HOUR));
    let pending = deliveries.log.pending(&user("ann")).await.unwrap();
    assert_eq!(pending.unwrap().accepted_at, T0 + HOUR);
    deliver_due(deliveries, T0 + HOUR).await;
    assert_eq!(oldest().await, None);
}
