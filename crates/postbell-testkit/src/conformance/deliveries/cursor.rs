//! Repeats, and notifications that a delivery covers.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, fail_for_good, notification,
    retry, user,
};
use crate::{Deliveries, RELAY};
use postbell_core::{
    Accepted, CURSORS_KEPT, DUPLICATE_WINDOW, DeadLetterReason, Notification, Replayed, Settlement,
    Timestamp,
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
    let newer = published_at(T0 + MINUTE, "m2", 8);
    put(deliveries, newer, T0 + 2 * MINUTE).await;
    deliver_due(deliveries, T0 + 2 * MINUTE).await;
    for (published, now) in [
        (T0, T0 + 2 * MINUTE),
        (T0, T0 + 7 * DUPLICATE_WINDOW),
        (T0 + MINUTE, T0 + HOUR),
    ] {
        let late = published_at(published, "m1", 7);
        assert_eq!(put(deliveries, late, now).await, Accepted::Covered);
        assert_nothing_due(deliveries, now).await;
    }
}

/// A message with an invented history id, or the history of a mailbox that was replaced, delays no mail,
/// however often it comes and whatever the clock of the relay shows.
pub async fn a_history_id_that_is_too_great_delays_nothing(deliveries: &Deliveries) {
    let mut published = T0;
    for relay_is_ahead in [Duration::ZERO, HOUR] {
        for round in 0..3 {
            let id = |kind: &str| format!("{kind}-{round}-{}", relay_is_ahead.as_secs());
            published = published + SECOND;
            let invented = published_at(published, &id("invented"), u64::MAX - 10 + round);
            put(deliveries, invented.clone(), published + relay_is_ahead).await;
            deliver_due(deliveries, published + relay_is_ahead).await;
            for number in [3, 1, 2] {
                published = published + Duration::from_millis(1);
                let now = published + relay_is_ahead;
                let real = published_at(published, &format!("{}-{number}", id("m")), number);
                let accepted = put(deliveries, real.clone(), now).await;
                assert_eq!(accepted, Accepted::Queued, "{real:?}");
                assert_eq!(deliver_due(deliveries, now).await, real);
                for repeat in [&real, &invented] {
                    let accepted = put(deliveries, repeat.clone(), now + SECOND).await;
                    let is_repeat = matches!(accepted, Accepted::Covered | Accepted::Duplicate);
                    assert!(is_repeat, "{accepted:?} {repeat:?}");
                }
                assert_nothing_due(deliveries, now + SECOND).await;
            }
        }
    }
}

/// The machine may have read the mailbox before the mail arrived, and the history id of the delivery may
/// be too great.
pub async fn a_lower_history_id_that_is_published_during_a_delivery_is_delivered_after_it(
    deliveries: &Deliveries,
) {
    let after = T0 + SECOND;
    for (round, published) in [(1, Some(after)), (2, None)] {
        let id = |kind: &str| format!("{kind}-{round}");
        let now = T0 + HOUR * round;
        let shift = |time: Timestamp| time + HOUR * round;
        let great = u64::MAX - 10 + u64::from(round);
        let invented = published_at(shift(T0), &id("invented"), great);
        put(deliveries, invented.clone(), now).await;
        let first = claim(deliveries, now).await;
        let real = Notification {
            published_at: published.map(shift),
            ..notification(&id("m"), 7)
        };
        assert_eq!(put(deliveries, real, now).await, Accepted::Merged);
        // Not even a repeat of the claimed one prevents it.
        let repeat = put(deliveries, invented, now).await;
        assert_eq!(repeat, Accepted::Duplicate);
        assert_nothing_due(deliveries, now).await;
        let settled = deliveries.queue.settle(&first, Settlement::Delivered, now);
        settled.await.unwrap();
        deliver_due(deliveries, now).await;
        assert_nothing_due(deliveries, now + MINUTE).await;
    }
}

/// It does not become a dead letter, and waits no longer than the cooldown.
pub async fn a_failure_with_a_lower_history_id_that_was_published_later_waits_only_the_cooldown(
    deliveries: &Deliveries,
) {
    accept(deliveries, "invented", u64::MAX, T0).await;
    let first = claim(deliveries, T0).await;
    let real = published_at(T0 + SECOND, "m1", 7);
    put(deliveries, real, T0 + SECOND).await;
    let failed = deliveries
        .queue
        .settle(&first, retry(HOUR, MINUTE), T0 + SECOND);
    failed.await.unwrap();
    let second = claim(deliveries, T0 + SECOND + MINUTE).await;
    assert_eq!(second.attempt, 0);

    let another = published_at(T0 + 2 * MINUTE, "m2", 6);
    put(deliveries, another, T0 + 2 * MINUTE).await;
    let refused = super::dead_letter_as(DeadLetterReason::Refused, "no");
    let failed = deliveries.queue.settle(&second, refused, T0 + 2 * MINUTE);
    failed.await.unwrap();
    assert_eq!(deliveries.log.depth().await.unwrap().dead_letters, 0);
    deliver_due(deliveries, T0 + 3 * MINUTE).await;
}

/// It was in the mailbox before the delivery began.
pub async fn a_lower_history_id_that_was_published_earlier_is_covered_by_a_delivery_in_progress(
    deliveries: &Deliveries,
) {
    let newer = published_at(T0 + SECOND, "m2", 8);
    put(deliveries, newer, T0 + SECOND).await;
    let first = claim(deliveries, T0 + SECOND).await;
    let accepted = accept(deliveries, "m1", 7, T0 + SECOND).await;
    assert_eq!(accepted, Accepted::Merged);
    let settled = deliveries
        .queue
        .settle(&first, Settlement::Delivered, T0 + 2 * SECOND);
    settled.await.unwrap();
    assert_nothing_due(deliveries, T0 + MINUTE).await;
}

/// Whichever has the greater history id, and even if their times are out of order.
pub async fn a_repeat_of_a_merged_notification_starts_no_second_delivery(deliveries: &Deliveries) {
    let early = published_at(T0, "m2", 8);
    let late = published_at(T0 + SECOND, "m1", 7);
    for (round, order) in [[&early, &late], [&late, &early]].into_iter().enumerate() {
        let now = T0 + MINUTE * u32::try_from(round + 1).unwrap();
        let [first, second] = order.map(|notification| Notification {
            user: user(["ann", "bob"][round]),
            ..notification.clone()
        });
        put(deliveries, first.clone(), now).await;
        let accepted = put(deliveries, second.clone(), now).await;
        assert_eq!(accepted, Accepted::Merged);
        assert_eq!(
            deliver_due(deliveries, now).await.message_id,
            early.message_id
        );
        for repeat in [first, second] {
            let accepted = put(deliveries, repeat.clone(), now + SECOND).await;
            let is_repeat = matches!(accepted, Accepted::Covered | Accepted::Duplicate);
            assert!(is_repeat, "{accepted:?} {repeat:?}");
        }
        assert_nothing_due(deliveries, now + SECOND).await;
    }
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
    let invented = published_at(ahead, "invented", 1000);
    put(deliveries, invented, ahead).await;
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

/// Later deliveries stay recognised.
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
        .claim(RELAY, T0 + HOUR, LEASE, 1)
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
