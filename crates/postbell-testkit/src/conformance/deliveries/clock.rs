//! A clock that was ahead, and is set right.

use std::time::Duration;

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, before, claim, due_at, exhausted,
    notification, notification_of, retry, user,
};
use crate::Deliveries;
use postbell_core::{Replayed, Settlement, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AHEAD: Timestamp = Timestamp::from_millis(T0.as_millis() + 30 * 24 * 60 * 60 * 1000);

/// As long as the failure says, whatever the clock was when it happened.
pub async fn a_wait_does_not_last_longer_because_the_clock_was_ahead(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, AHEAD).await;
    let settled = deliveries
        .queue
        .settle(&failed, retry(2 * MINUTE, MINUTE), AHEAD);
    settled.await.unwrap();

    assert_nothing_due(deliveries, T0).await;
    let due = due_at(deliveries).await.unwrap();
    assert!(due > T0 && due <= T0 + 2 * MINUTE, "{due}");
    let again = claim(deliveries, T0 + 2 * MINUTE).await;
    assert_eq!(
        (again.notification, again.attempt),
        (notification("m1", 7), 1)
    );
}

/// The cooldown moves with the clock.
pub async fn a_cooldown_does_not_last_longer_because_the_clock_was_ahead(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, AHEAD).await;
    let failed = claim(deliveries, AHEAD).await;
    let refused = super::dead_letter_as(postbell_core::DeadLetterReason::Refused, "no");
    let settled = deliveries.queue.settle(&failed, refused, AHEAD);
    settled.await.unwrap();

    assert_nothing_due(deliveries, T0).await;
    accept(deliveries, "m2", 8, T0 + SECOND).await;
    assert_nothing_due(deliveries, T0 + SECOND).await;
    let again = claim(deliveries, T0 + MINUTE).await;
    assert_eq!(again.notification, notification("m2", 8));
}

/// Even if the process ended before it was claimed.
pub async fn a_notification_of_a_clock_that_was_ahead_is_due(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, AHEAD).await;
    let claim = claim(deliveries, T0).await;
    assert_eq!(claim.notification, notification("m1", 7));
    let settled = deliveries.queue.settle(&claim, Settlement::Delivered, T0);
    settled.await.unwrap();
}

/// A replay makes the mailbox due.
pub async fn a_replay_of_a_clock_that_was_ahead_is_due(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    let settled = deliveries.queue.settle(&failed, exhausted("no"), T0);
    settled.await.unwrap();
    let dead_letters = deliveries.log.dead_letters(None, None, 10).await.unwrap();
    let replayed = deliveries.log.replay(dead_letters[0].id, AHEAD);
    assert_eq!(replayed.await.unwrap(), Replayed::Queued);

    let claim = claim(deliveries, T0).await;
    assert_eq!(claim.notification, notification("m1", 7));
}

/// A notification during a delivery has no schedule of its own.
pub async fn what_schedules_nothing_does_not_show_that_the_clock_was_ahead(
    deliveries: &Deliveries,
) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0).await;
    let settled = deliveries
        .queue
        .settle(&failed, retry(2 * MINUTE, MINUTE), T0);
    settled.await.unwrap();
    let first = notification_of("ben", "m1", 7);
    deliveries.queue.accept(first, T0).await.unwrap();
    claim(deliveries, T0).await;
    let newer = notification_of("ben", "m2", 8);
    let accepted = deliveries.queue.accept(newer, T0 + 40 * SECOND);
    accepted.await.unwrap();

    assert_nothing_due(deliveries, T0).await;
    assert_eq!(due_at(deliveries).await, Some(T0 + 2 * MINUTE));
}

/// A delivery in progress keeps a whole lease, so that none is made twice at once.
pub async fn a_lease_does_not_last_longer_because_the_clock_was_ahead(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let lost = claim(deliveries, AHEAD).await;
    assert_nothing_due(deliveries, T0).await;
    assert_nothing_due(deliveries, T0 + (LEASE - SECOND)).await;
    let again = claim(deliveries, T0 + LEASE).await;
    assert_eq!(again.lease, lost.lease + 1);
}

/// Clocks are adjusted by small steps all the time.
pub async fn a_small_step_back_moves_nothing(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failed = claim(deliveries, T0 + DAY).await;
    let now = T0 + DAY;
    let settled = deliveries.queue.settle(&failed, retry(MINUTE, MINUTE), now);
    settled.await.unwrap();
    assert_nothing_due(deliveries, before(now, 5 * SECOND)).await;
    assert_eq!(due_at(deliveries).await, Some(now + MINUTE));
    let ann = user("ann");
    let due = deliveries
        .queue
        .make_due(&ann, None, before(now, 5 * SECOND));
    assert!(due.await.unwrap());
    claim(deliveries, before(now, 4 * SECOND)).await;
}
