//! Recorded deliveries, and counts.

use super::{
    LEASE, MINUTE, SECOND, T0, accept, assert_nothing_due, claim, fail_for_good, notification_of,
    retry, user,
};
use crate::{Deliveries, RELAY};
use postbell_core::{
    Claimed, DELIVERIES_KEPT, DeadLetterReason, Depth, FailureKind, Outcome, SettleError,
    Settlement,
};

/// The log of a mailbox is bounded.
pub async fn the_last_deliveries_are_kept_the_latest_first(deliveries: &Deliveries) {
    let kept = DELIVERIES_KEPT as u64;
    for history_id in 1..=kept + 3 {
        let now = T0 + SECOND * u32::try_from(history_id).unwrap();
        accept(deliveries, &format!("m{history_id}"), history_id, now).await;
        let claim = claim(deliveries, now).await;
        deliveries
            .queue
            .settle(&claim, Settlement::Delivered, now + SECOND)
            .await
            .unwrap();
    }
    let records = deliveries.log.deliveries(&user("ann")).await.unwrap();
    let history_ids: Vec<_> = records
        .iter()
        .map(|record| record.history_id.get())
        .collect();
    assert_eq!(history_ids, (4..=kept + 3).rev().collect::<Vec<_>>());
    assert_eq!(deliveries.log.deliveries(&user("bob")).await.unwrap(), []);
}

/// With the cause of a failure. A released claim is not a delivery.
pub async fn a_delivery_is_recorded_with_its_outcome(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let failing = claim(deliveries, T0 + SECOND).await;
    deliveries
        .queue
        .settle(&failing, retry(MINUTE, MINUTE), T0 + 2 * SECOND)
        .await
        .unwrap();
    let released = claim(deliveries, T0 + 2 * MINUTE).await;
    deliveries
        .queue
        .settle(&released, Settlement::Release, T0 + 2 * MINUTE)
        .await
        .unwrap();
    let last = claim(deliveries, T0 + 2 * MINUTE).await;
    deliveries
        .queue
        .settle(&last, Settlement::Unwanted, T0 + 2 * MINUTE)
        .await
        .unwrap();

    let records = deliveries.log.deliveries(&user("ann")).await.unwrap();
    let ends: Vec<_> = records
        .iter()
        .map(|one| (one.outcome, one.cause.as_deref(), one.failure_kind))
        .collect();
    assert_eq!(
        ends,
        [
            (Outcome::Unwanted, None, None),
            (
                Outcome::Failed,
                Some("no answer"),
                Some(FailureKind::Timeout)
            )
        ]
    );
    let times = (
        records[1].accepted_at,
        records[1].claimed_at,
        records[1].settled_at,
    );
    assert_eq!(times, (T0, T0 + SECOND, T0 + 2 * SECOND));
    assert_eq!((records[0].attempt, records[1].attempt), (1, 0));
}

/// For an operator's alert.
pub async fn the_depth_counts_pending_and_dead_letters(deliveries: &Deliveries) {
    assert_eq!(deliveries.log.depth().await.unwrap(), Depth::default());
    fail_for_good(deliveries, "m0", 0, DeadLetterReason::Refused).await;
    for (seconds, name) in [(1, "bob"), (2, "cid")] {
        deliveries
            .queue
            .accept(notification_of(name, "m1", 7), T0 + seconds * SECOND)
            .await
            .unwrap();
    }
    deliveries
        .queue
        .claim(RELAY, T0 + MINUTE, LEASE, 1)
        .await
        .unwrap();

    let depth = deliveries.log.depth().await.unwrap();
    let expected = Depth {
        pending: 2,
        oldest_accepted_at: Some(T0 + SECOND),
        failing: 0,
        parked: 0,
        dead_letters: 1,
        dead_letters_dropped: 0,
    };
    assert_eq!(depth, expected);
}

/// So that the dispatcher need not poll.
pub async fn a_claim_returns_when_the_next_mailbox_is_due(deliveries: &Deliveries) {
    let queue = &deliveries.queue;
    let claimed = queue.claim(RELAY, T0, LEASE, 10).await.unwrap();
    assert_eq!(claimed, Claimed::default());
    for name in ["ann", "bob"] {
        let accepted = queue.accept(notification_of(name, "m1", 7), T0);
        accepted.await.unwrap();
    }
    let claimed = queue.claim(RELAY, T0 + SECOND, LEASE, 1).await.unwrap();
    assert_eq!((claimed.claims.len(), claimed.next_due), (1, Some(T0)));
    let claimed = queue
        .claim(RELAY, T0 + 2 * SECOND, LEASE, 10)
        .await
        .unwrap();
    let first_lease = Some(T0 + SECOND + LEASE);
    assert_eq!((claimed.claims.len(), claimed.next_due), (1, first_lease));
}

/// A user who is added later with the same id begins empty; other users keep their data.
pub async fn removing_a_user_deletes_everything(deliveries: &Deliveries) {
    fail_for_good(deliveries, "m1", 1, DeadLetterReason::Refused).await;
    let later = T0 + 10 * MINUTE;
    accept(deliveries, "m2", 2, later).await;
    let stale = claim(deliveries, later).await;
    let of_bob = notification_of("bob", "m2", 2);
    deliveries
        .queue
        .accept(of_bob, later + LEASE)
        .await
        .unwrap();
    deliveries.log.remove_user(&user("ann")).await.unwrap();

    let settled = deliveries
        .queue
        .settle(&stale, Settlement::Delivered, later)
        .await;
    let error = settled.unwrap_err();
    assert!(matches!(error, SettleError::LeaseLost { .. }), "{error:?}");
    let ann = user("ann");
    let dead_letters = deliveries
        .log
        .dead_letters(Some(&ann), None, 10)
        .await
        .unwrap();
    assert_eq!(dead_letters.len(), 0);
    assert_eq!(deliveries.log.deliveries(&ann).await.unwrap(), []);
    let hours = deliveries.log.hourly_counts(&ann, later).await.unwrap();
    assert!(hours.iter().all(|hour| hour.delivered + hour.failed == 0));
    assert_eq!(deliveries.log.pending(&ann).await.unwrap(), None);
    let bobs = claim(deliveries, later + LEASE).await;
    assert_eq!(bobs.notification.user, user("bob"));

    // A message id of the removed user is new to the next one, and the lease number has not returned.
    accept(deliveries, "m2", 2, later + LEASE).await;
    let fresh = claim(deliveries, later + LEASE).await;
    assert!(fresh.lease > stale.lease);
    let settled = deliveries
        .queue
        .settle(&stale, Settlement::Delivered, later + LEASE)
        .await;
    assert!(settled.is_err());
    assert_nothing_due(deliveries, later + LEASE).await;
}
