//! Several relays on one queue, and pages of other processes.

use postbell_core::{DeadLetterReason, RELAY_TIMEOUT, RelayId, SettleError, Settlement};

use super::{
    LEASE, MINUTE, SECOND, T0, accept, before, dead_letter_as, notification, notification_of,
    retry, user,
};
use crate::{Deliveries, RELAY};

const OTHER: RelayId = RelayId::new(2);
const THIRD: RelayId = RelayId::new(i64::MIN);

async fn heartbeat(
    deliveries: &Deliveries,
    relay: RelayId,
    now: postbell_core::Timestamp,
) -> usize {
    deliveries.queue.heartbeat(relay, now).await.unwrap()
}

/// Not only when its leases end.
pub async fn the_claims_of_a_dead_relay_are_released(deliveries: &Deliveries) {
    for relay in [RELAY, OTHER] {
        assert_eq!(heartbeat(deliveries, relay, T0).await, 0);
    }
    accept(deliveries, "m1", 7, T0).await;
    let claimed = deliveries.queue.claim(RELAY, T0, LEASE, 9).await.unwrap();
    let early = before(T0 + RELAY_TIMEOUT, SECOND);
    assert_eq!(heartbeat(deliveries, OTHER, early).await, 0);

    let late = T0 + RELAY_TIMEOUT;
    assert_eq!(heartbeat(deliveries, OTHER, late).await, 1);
    let again = deliveries.queue.claim(OTHER, late, LEASE, 9).await.unwrap();
    assert_eq!(again.claims[0].notification, notification("m1", 7));
    assert_eq!(again.claims[0].attempt, 0);
    let stale = &claimed.claims[0];
    let stale = deliveries.queue.settle(stale, Settlement::Delivered, late);
    let error = stale.await.unwrap_err();
    assert!(matches!(error, SettleError::LeaseLost { .. }), "{error:?}");
    let settled = &again.claims[0];
    let settled = deliveries
        .queue
        .settle(settled, Settlement::Delivered, late);
    settled.await.unwrap();
}

/// Even if the claim was not made again.
pub async fn a_released_claim_cannot_settle(deliveries: &Deliveries) {
    heartbeat(deliveries, RELAY, T0).await;
    accept(deliveries, "m1", 7, T0).await;
    let claimed = deliveries.queue.claim(RELAY, T0, LEASE, 9).await.unwrap();
    let late = T0 + RELAY_TIMEOUT;
    assert_eq!(heartbeat(deliveries, OTHER, late).await, 1);
    let stale = &claimed.claims[0];
    let stale = deliveries.queue.settle(stale, Settlement::Delivered, late);
    let error = stale.await.unwrap_err();
    assert!(matches!(error, SettleError::LeaseLost { .. }), "{error:?}");
    assert_eq!(deliveries.log.depth().await.unwrap().pending, 1);
}

/// As long as it records heartbeats, also if other relays come or go.
pub async fn a_living_relay_keeps_its_claims(deliveries: &Deliveries) {
    heartbeat(deliveries, RELAY, T0).await;
    heartbeat(deliveries, OTHER, T0).await;
    let lease = 10 * MINUTE;
    for (relay, name) in [(RELAY, "ann"), (OTHER, "bob")] {
        let accepted = deliveries.queue.accept(notification_of(name, "m1", 7), T0);
        accepted.await.unwrap();
        let claimed = deliveries.queue.claim(relay, T0, lease, 1).await.unwrap();
        assert_eq!(claimed.claims.len(), 1);
    }
    let mut now = T0;
    let mut released = 0;
    for _ in 0..6 {
        now = now + 5 * SECOND;
        for relay in [RELAY, THIRD] {
            released += heartbeat(deliveries, relay, now).await;
        }
    }
    assert_eq!(released, 1, "only that of the other relay");
    let due = deliveries.queue.claim(THIRD, now, lease, 9).await.unwrap();
    let users = due.claims.iter().map(|claim| &claim.notification.user);
    assert_eq!(users.collect::<Vec<_>>(), [&super::user("bob")]);
}

/// Of a process that claimed and ended before its first heartbeat.
pub async fn a_new_relay_releases_the_claims_of_unknown_ones(deliveries: &Deliveries) {
    accept(deliveries, "m1", 7, T0).await;
    let claimed = deliveries.queue.claim(OTHER, T0, LEASE, 9).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);
    assert_eq!(heartbeat(deliveries, RELAY, T0).await, 1);
    let due = deliveries.queue.claim(RELAY, T0, LEASE, 9).await.unwrap();
    assert_eq!(due.claims.len(), 1);
    assert_eq!(heartbeat(deliveries, RELAY, T0 + SECOND).await, 0);
}

/// Else its claims would be held until that time.
pub async fn a_relay_whose_clock_was_ahead_when_it_died_is_dead(deliveries: &Deliveries) {
    heartbeat(deliveries, OTHER, T0 + 60 * MINUTE).await;
    accept(deliveries, "m1", 7, T0).await;
    let lease = 100 * MINUTE;
    deliveries.queue.claim(OTHER, T0, lease, 9).await.unwrap();
    assert_eq!(heartbeat(deliveries, RELAY, T0).await, 0, "it may live");
    let late = T0 + RELAY_TIMEOUT;
    assert_eq!(heartbeat(deliveries, RELAY, late).await, 1);
}

/// For the pages that are open.
pub async fn a_mark_differs_once_anything_of_its_user_has_changed(deliveries: &Deliveries) {
    let (queue, log) = (&deliveries.queue, &deliveries.log);
    let ann = [user("ann")];
    let mut seen = Vec::new();
    let mut look = async || {
        let mark = log.marks(&ann).await.unwrap();
        assert_eq!(log.marks(&ann).await.unwrap(), mark, "nothing has changed");
        assert!(!seen.contains(&mark), "{mark:?}");
        seen.push(mark);
    };
    look().await;
    accept(deliveries, "m1", 7, T0).await;
    look().await;
    let claim = async |now| {
        let claimed = queue.claim(RELAY, now, LEASE, 1).await.unwrap();
        claimed.claims.into_iter().next().unwrap()
    };
    let first = claim(T0).await;
    look().await;
    let settled = queue.settle(&first, retry(MINUTE, MINUTE), T0 + SECOND);
    settled.await.unwrap();
    look().await;
    let second = claim(T0 + 2 * MINUTE).await;
    look().await;
    let refused = dead_letter_as(DeadLetterReason::Refused, "no");
    let settled = queue.settle(&second, refused, T0 + 2 * MINUTE);
    settled.await.unwrap();
    look().await;
    accept(deliveries, "m2", 8, T0 + 9 * MINUTE).await;
    look().await;
    let third = claim(T0 + 9 * MINUTE).await;
    look().await;
    let settled = queue.settle(&third, Settlement::Delivered, T0 + 9 * MINUTE);
    settled.await.unwrap();
    look().await;
    let letters = log.dead_letters(None, None, 9).await.unwrap();
    assert!(log.drop_dead_letter(letters[0].id).await.unwrap());
    look().await;
}
